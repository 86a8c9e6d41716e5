//! Vendors that cannot compile what they have claimed: the region is lost, the rest is planned anew, and what the
//! report says is what runs.

use std::fs;
use std::path::{Path, PathBuf};

use byoc::{PluginOption, PluginOptions, Report, Session};
use byoc_partitioner::Kind;
use byoc_tests::{Finished, plugin, run, written};

/// Two chains of Add, `l0` to `l11` and `r0` to `r11`, which a host operator joins.
fn model() -> String {
    let chain = |side: char, last: &str| {
        let line = |i: usize| match i {
            0 => format!("{side}0 = Add(x, k)\n"),
            11 => format!("{last} = Add({side}10, k)\n"),
            _ => format!("{side}{i} = Add({side}{}, k)\n", i - 1),
        };
        (0..12).map(line).collect::<String>()
    };
    format!(
        "<ir_version: 8, opset_import: [\"\": 17]> g (float[4] x) => (float[4] y) <float[4] k = {{1, -2, 0.5, 4}}> {{
            {}{}y = Sub(l11, r11)\n}}",
        chain('l', "l11"),
        chain('r', "r11"),
    )
}

struct Setup {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Setup {
    fn new() -> Setup {
        let (folder, model) = written(&model());
        Setup { folder, model }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Runs a command on the model with the probe.
    fn probe(&self, command: &str, picky: &str, words: &[&str]) -> Finished {
        let (probe, picky) = (plugin("byoc-probe"), format!("probe.picky={picky}"));
        let model = self.model.display().to_string();
        let call = [command, &model, "--plugin", probe.to_str().expect("UTF-8"), "--plugin-option", &picky];
        run(call.iter().chain(words))
    }

    /// The only output, as it was written.
    fn output(&self, picky: &str, words: &[&str]) -> Vec<u8> {
        let out = self.path("out");
        let common = ["--random", "3", "--threads", "2", "--output", &out];
        self.probe("run", picky, &[&common[..], words].concat()).expect(0);
        fs::read(Path::new(&out).join("output_0.pb")).expect("the output is written")
    }

    fn session(&self, picky: &str, others: &[&str]) -> Session {
        let option = PluginOption { vendor: "probe".into(), key: "picky".into(), value: picky.into() };
        let mut builder = Session::builder(&self.model);
        for name in ["byoc-probe"].iter().chain(others) {
            builder = builder.plugin(plugin(name).display().to_string());
        }
        builder.plugin_options(PluginOptions::from(vec![option])).build().expect("the host can run it")
    }

    /// What a session reports.
    fn report(&self, picky: &str) -> Report {
        self.session(picky, &[]).report().clone()
    }
}

/// Words that bring in a second vendor, which takes all that the first does and fails at nothing.
fn and_paced() -> [String; 2] {
    ["--plugin".to_owned(), plugin("byoc-paced-a").display().to_string()]
}

/// Regions with their vendors.
fn placed(report: &Report) -> Vec<String> {
    report.regions.iter().zip(regions(report)).map(|(r, nodes)| format!("{}: {nodes}", r.vendor)).collect()
}

fn regions(report: &Report) -> Vec<String> {
    report.regions.iter().map(|r| format!("{} to {}", r.nodes[0], r.nodes[r.nodes.len() - 1])).collect()
}

fn compile_reasons(report: &Report) -> Vec<(&str, &str)> {
    let reasons = report.nodes.iter().filter(|n| n.op == "Add").map(|node| {
        let reason = &node.reasons[0];
        assert_eq!(reason.kind, Kind::Compile, "{}: {reason:?}", node.name);
        (node.name.as_str(), reason.detail.as_str())
    });
    reasons.collect()
}

#[test]
fn only_the_region_that_fails_is_lost() {
    let setup = Setup::new();
    let report = setup.report("region:r5");
    assert_eq!(regions(&report), ["l0 to l11"]);
    let reasons = compile_reasons(&report);
    assert_eq!(reasons.len(), 12);
    assert!(
        reasons.iter().all(|(name, why)| name.starts_with('r') && why.contains("a region with r5")),
        "{reasons:?}"
    );
    assert_eq!(setup.output("region:r5", &[]), setup.output("none", &[]));
}

#[test]
fn named_nodes_are_lost_and_the_rest_is_planned_anew() {
    let setup = Setup::new();
    let report = setup.report("nodes:r5");
    assert_eq!(regions(&report), ["l0 to l11", "r0 to r4", "r6 to r11"]);
    assert_eq!(compile_reasons(&report), [("r5", "r5 is named r5")]);
    assert_eq!(setup.output("nodes:r5", &[]), setup.output("none", &[]));
}

#[test]
fn what_fails_in_a_later_round_is_lost_as_well() {
    let setup = Setup::new();
    let report = setup.report("then:r5,r8");
    assert_eq!(regions(&report), ["l0 to l11", "r0 to r4"]);
    let reasons = compile_reasons(&report);
    assert_eq!(reasons[0], ("r5", "r5 is named r5"), "the first round");
    assert!(reasons[1..].iter().all(|(_, why)| why.contains("a region with r8")), "the second: {reasons:?}");
    assert_eq!(
        reasons.iter().map(|(name, _)| *name).collect::<Vec<_>>()[1..],
        ["r6", "r7", "r8", "r9", "r10", "r11"]
    );
    assert_eq!(setup.output("then:r5,r8", &[]), setup.output("none", &[]));
}

#[test]
fn another_vendor_takes_what_the_first_cannot_compile() {
    let setup = Setup::new();
    let session = setup.session("region:r5", &["byoc-paced-a"]);
    assert_eq!(placed(session.report()), ["probe: l0 to l11", "paced-a: r0 to r11"]);
    assert_eq!(session.report().host, ["y"]);
    let told = session.warnings().join("\n");
    assert!(told.contains("probe") && told.contains("a region with r5"), "{told}");
    let session = setup.session("nodes:r5", &["byoc-paced-a"]);
    let expected = ["probe: l0 to l11", "probe: r0 to r4", "paced-a: r5 to r5", "probe: r6 to r11"];
    assert_eq!(placed(session.report()), expected);
    for picky in ["region:r5", "nodes:r5", "then:r5,r8", "first"] {
        let words = and_paced();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(setup.output(picky, &words), setup.output("none", &[]), "{picky}");
    }
}

#[test]
fn where_every_region_fails_all_goes_elsewhere() {
    let setup = Setup::new();
    // Every name has this part.
    let everything = "region:";
    let session = setup.session(everything, &[]);
    assert!(session.report().regions.is_empty());
    assert_eq!(compile_reasons(session.report()).len(), 24);
    assert_eq!(session.report().summary.offloaded, 0);
    let session = setup.session(everything, &["byoc-paced-a"]);
    assert_eq!(placed(session.report()), ["paced-a: l0 to l11", "paced-a: r0 to r11"]);
    assert_eq!(setup.output(everything, &[]), setup.output("none", &[]));
}

#[test]
fn the_command_says_what_was_lost() {
    let setup = Setup::new();
    let done = setup.probe("run", "region:r5", &["--random", "1"]).expect(0);
    assert!(done.stderr.contains("probe: 12 of 25 nodes in 1 region"), "{}", done.stderr);
    let warnings: Vec<&str> = done.stderr.lines().filter(|l| l.starts_with("warning: ")).collect();
    assert_eq!(warnings.len(), 1, "{}", done.stderr);
    assert!(warnings[0].contains("a region with r5"), "{warnings:?}");
}

#[test]
fn a_vendor_that_never_compiles_has_nothing_in_the_end() {
    let setup = Setup::new();
    let report = setup.report("first");
    assert!(report.regions.is_empty(), "{:?}", regions(&report));
    let reasons = compile_reasons(&report);
    // Nodes that were named, one a round and chain, and those that went with their region after the last.
    assert_eq!(reasons.len(), 24);
    assert!(
        reasons.contains(&("l0", "never the first"))
            && reasons.iter().any(|(n, w)| *n == "l11" && w.contains("failed in compile")),
        "{reasons:?}"
    );
    assert_eq!(report.summary.offloaded, 0);
    assert_eq!(setup.output("first", &[]), setup.output("none", &[]));
}

#[test]
fn under_strict_a_failure_is_an_error() {
    let setup = Setup::new();
    for picky in ["region:r5", "nodes:r5", "first"] {
        let done = setup.probe("run", picky, &["--random", "1", "--strict"]).expect(1);
        assert!(done.stderr.contains("error: plugin `probe` failed in compile"), "{picky}: {}", done.stderr);
        // Though another vendor would take it.
        let paced = and_paced();
        let words = ["--random", "1", "--strict", &paced[0], &paced[1]];
        let done = setup.probe("run", picky, &words).expect(1);
        assert!(done.stderr.contains("error: plugin `probe` failed in compile"), "{picky}: {}", done.stderr);
    }
}

#[test]
fn a_plan_holds_what_compilation_has_shown() {
    let setup = Setup::new();
    let (learnt, again) = (setup.path("learnt.toml"), setup.path("again.toml"));
    let first = setup.output("nodes:r5", &["--save-plan", &learnt]);
    let text = fs::read_to_string(&learnt).expect("the plan is written");
    assert!(
        text.contains(r#"do = "deny", graph = "main", node = "r5", vendor = "probe", kind = "compile""#),
        "{text}"
    );
    assert_eq!(setup.output("nodes:r5", &["--plan", &learnt, "--save-plan", &again]), first);
    assert_eq!(text, fs::read_to_string(&again).expect("the plan is written"));

    // A plan that was made without compiling does not know, and says so instead of placing otherwise.
    let naive = setup.path("naive.toml");
    setup.probe("partition", "nodes:r5", &["--save-plan", &naive]).expect(0);
    let done = setup.probe("run", "nodes:r5", &["--random", "1", "--plan", &naive]).expect(1);
    assert!(
        done.stderr.contains("the plan cannot be carried out, region probe_1: plugin `probe`"),
        "{}",
        done.stderr
    );
}
