//! Plans on the command line: saved, carried out, shown and compared.

use std::fs;
use std::path::PathBuf;

use byoc_tests::{data, plugin, run, written};

const MODEL: &str = r#"<ir_version: 8, opset_import: ["": 17]>
g (float[4] x, float[4] y) => (float[4] r) <float[4] k = {1, -2, 0.5, 4}> {
    s = Add(x, y)
    t = Tanh(s)
    p = Mul(t, k)
    r = Relu(p)
}"#;

struct Setup {
    folder: tempfile::TempDir,
    model: String,
    plugin: String,
}

impl Setup {
    fn new(plugin_of: &str, model: Option<PathBuf>) -> Setup {
        let (folder, own) = written(MODEL);
        let model = model.unwrap_or(own).display().to_string();
        Setup { folder, model, plugin: plugin(plugin_of).display().to_string() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is written")
    }

    /// `byoc partition`, with everything that it writes under a name.
    fn partition(&self, name: &str, words: &[&str]) {
        let (report, output, plan) = (
            self.path(&format!("{name}.json")),
            self.path(&format!("{name}.onnx")),
            self.path(&format!("{name}.toml")),
        );
        let call = ["partition", &self.model, "--plugin", &self.plugin, "--report", &report, "-o", &output];
        run(call.iter().chain(&["--save-plan", &plan]).chain(words)).expect(0);
    }

    /// Whether report, model and plan are the same under two names.
    fn same(&self, a: &str, b: &str) {
        assert_eq!(self.read(&format!("{a}.json")), self.read(&format!("{b}.json")), "reports differ");
        assert_eq!(self.read(&format!("{a}.toml")), self.read(&format!("{b}.toml")), "plans differ");
        let model = |name: &str| fs::read(self.path(&format!("{name}.onnx"))).expect("the model is written");
        assert!(model(a) == model(b), "models differ");
    }
}

#[test]
fn a_saved_plan_gives_the_same_files() {
    let setup = Setup::new("byoc-probe", None);
    setup.partition(
        "first",
        &["--force", "p=host", "--only-op", "Mul", "--only-op", "Relu", "--only-op", "Add"],
    );
    setup.partition("again", &["--plan", &setup.path("first.toml")]);
    setup.same("first", "again");
}

#[test]
fn plans_of_models_give_the_same_files() {
    for name in ["ultraface_rfb320_qop_u8s8", "mobilenetv2_qdq_int8"] {
        let Some(path) = data(&format!("models/{name}/model.onnx")) else { return };
        let setup = Setup::new("byoc-refnpu", Some(path));
        setup.partition("first", &[]);
        setup.partition("again", &["--plan", &setup.path("first.toml")]);
        setup.same("first", "again");
        assert!(setup.read("first.toml").contains("do = \"place\""));
    }
}

#[test]
fn plans_are_shown_and_compared() {
    let setup = Setup::new("byoc-probe", None);
    setup.partition("first", &[]);
    setup.partition("other", &["--exclude", "p"]);
    let [first, other] = ["first", "other"].map(|name| setup.path(&format!("{name}.toml")));
    let shown = run(["plan", "show", &first]).expect(0).stdout;
    for part in
        ["4 nodes", "probe (0.1.0)", "place `binary` of probe at `s`", "2 regions, 1 node on the host"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let same = run(["plan", "diff", &first, &first]).expect(0).stdout;
    assert_eq!(same, "the plans decide the same\n");
    let told = run(["plan", "diff", &first, &other]).expect(0).stdout;
    assert!(
        told.contains("+ exclude `p`") && told.contains("probe scaled") && told.contains("host"),
        "{told}"
    );
    let json = run(["plan", "diff", &first, &other, "--json"]).expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["changes"][0]["moved"][0]["node"], "p");
    assert_eq!(json["changes"][0]["moved"][0]["to"]["target"], "host");
    assert_eq!(json["boundary_before"], 32);
}

#[test]
fn what_does_not_fit_is_one_clear_message() {
    let setup = Setup::new("byoc-probe", None);
    setup.partition("first", &[]);
    let plan = setup.path("first.toml");
    let fails = |words: &[&str], parts: &[&str]| {
        let done = run(["partition", &setup.model].iter().chain(words)).expect(1);
        for part in parts {
            assert!(
                done.stderr.starts_with("error: ") && done.stderr.contains(part),
                "{part}: {}",
                done.stderr
            );
        }
    };
    fails(&["--plan", &plan], &["step 1 (line", "no vendor is named `probe`; give its --plugin or --table"]);
    fails(&["--plan", "/no/such/plan"], &["/no/such/plan: "]);
    fs::write(setup.path("bad.toml"), "schema = \"byoc.plan/1\"\nsteps = 3\n").expect("written");
    fails(&["--plan", &setup.path("bad.toml")], &["bad.toml:2: "]);
    fs::write(setup.path("binary.toml"), [0xff, 0xfe]).expect("written");
    fails(&["--plan", &setup.path("binary.toml")], &["binary.toml: is not text"]);

    let changed = fs::read_to_string(&setup.model).expect("readable").replace("Relu(p)", "Tanh(p)");
    fs::write(&setup.model, changed).expect("written");
    fails(
        &["--plugin", &setup.plugin, "--plan", &plan],
        &["place `relu` of probe at `r`", "the model is not the one"],
    );
    // A policy has no say in what a plan decides.
    run(["partition", &setup.model, "--plan", &plan, "--policy", "greedy"]).expect(2);
}

#[test]
fn a_model_with_other_weights_is_tried_but_not_under_strict() {
    let setup = Setup::new("byoc-probe", None);
    setup.partition("first", &[]);
    let plan = setup.path("first.toml");
    let changed = fs::read_to_string(&setup.model).expect("readable").replace("0.5", "0.25");
    fs::write(&setup.model, changed).expect("written");
    let words = ["partition", &setup.model, "--plugin", &setup.plugin, "--plan", &plan];
    let done = run(words).expect(0);
    assert!(
        done.stderr.contains("warning: the model is not the one that the plan was made for"),
        "{}",
        done.stderr
    );
    let done = run(words.iter().chain(&["--strict"])).expect(1);
    assert!(done.stderr.contains("the plan is for something else"), "{}", done.stderr);
}
