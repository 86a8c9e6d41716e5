//! Partitioned models are plain, valid ONNX: the checker accepts them, ONNX Runtime computes the same, the
//! command gives the same bytes twice, and partitioning the result again changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use byoc_tests::{QUANTISED, data, on_refnpu, python, root, run, run_command};
use serde::Deserialize;

/// What this test reads of a partition case.
#[derive(Clone, Default, Deserialize)]
struct Case {
    name: String,
    model: Option<String>,
    model_file: Option<String>,
    #[serde(default)]
    tables: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    feed: toml::Table,
    #[serde(default)]
    skip: Vec<String>,
    #[serde(default)]
    expect: toml::Table,
}

fn cases(folder: &Path) -> Vec<(PathBuf, Case)> {
    let files = fs::read_dir(folder).expect("the folder can be read").map(|e| e.expect("entry").path());
    let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("the case can be read");
        let case = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, case)
    };
    files.into_iter().map(read).collect()
}

/// One call of the command for a case; the report and the model lie in `out` behind it.
fn partition(case: &Case, model: &Path, tables: &[PathBuf], out: &Path) -> byoc_tests::Finished {
    fs::create_dir_all(out).expect("folder");
    let mut words: Vec<String> = vec!["partition".into(), model.display().to_string(), "--quiet".into()];
    for table in tables {
        words.extend(["--table".into(), table.display().to_string()]);
    }
    words.extend(case.args.iter().cloned());
    words.extend(["--report".into(), out.join("report.json").display().to_string()]);
    words.extend(["-o".into(), out.join("model.onnx").display().to_string()]);
    run(words)
}

/// Arguments for a partitioned model: nodes that were forced on a vendor or cut at are gone, and sizes are settled.
fn for_partitioned(args: &[String]) -> Vec<String> {
    let gone = |i: usize| match args[i].as_str() {
        "--dim" | "--cut" => true,
        "--force" => !args.get(i + 1).is_some_and(|value| value.ends_with("=host")),
        _ => false,
    };
    let kept = (0..args.len()).filter(|&i| !gone(i) && (i == 0 || !gone(i - 1)));
    kept.map(|i| args[i].clone()).collect()
}

fn regions(report: &Path) -> usize {
    let text = fs::read_to_string(report).expect("report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("the report is JSON");
    report["regions"].as_array().expect("regions").len()
}

fn check_case(path: &Path, case: &Case, folder: &Path) -> Option<serde_json::Value> {
    let name = &case.name;
    let dir = folder.join(name);
    fs::create_dir_all(&dir).expect("folder");
    let model = match (&case.model, &case.model_file) {
        (Some(text), _) => {
            let file = dir.join("model.onnxtxt");
            fs::write(&file, text).expect("written");
            file
        }
        (None, file) => path.with_file_name(file.as_ref().expect("a case has a model")),
    };
    let mut tables = Vec::new();
    for (i, table) in case.tables.iter().enumerate() {
        tables.push(dir.join(format!("table{i}.toml")));
        fs::write(&tables[i], table).expect("written");
    }
    let first = partition(case, &model, &tables, &dir.join("first"));
    if let Some(texts) = case.expect.get("error_contains").and_then(|v| v.as_array()) {
        assert!(matches!(first.status, Some(1 | 2)), "{name}: {first:?}");
        for text in texts.iter().filter_map(|t| t.as_str()) {
            assert!(first.stderr.contains(text), "{name}: `{text}` is not in {}", first.stderr);
        }
        if let Some(line) = case.expect.get("error_line").and_then(|v| v.as_integer()) {
            let place = format!("table0.toml:{line}:");
            assert!(first.stderr.contains(&place), "{name}: `{place}` is not in {}", first.stderr);
        }
        let left = fs::read_dir(dir.join("first")).expect("folder").count();
        assert_eq!(left, 0, "{name}: something half-written was left behind");
        return None;
    }
    assert_eq!(first.status, Some(0), "{name}: {}", first.stderr);
    assert!(first.took < Duration::from_secs(20), "{name}: took {:?}", first.took);

    partition(case, &model, &tables, &dir.join("second")).expect(0);
    for file in ["report.json", "model.onnx"] {
        let bytes = |run: &str| fs::read(dir.join(run).join(file)).expect("written");
        assert!(bytes("first") == bytes("second"), "{name}: {file} differs between two runs");
    }
    let written = dir.join("first/model.onnx");
    let again = Case { args: for_partitioned(&case.args), ..case.clone() };
    partition(&again, &written, &tables, &dir.join("again")).expect(0);
    assert_eq!(regions(&dir.join("again/report.json")), 0, "{name}: partitioned again");

    Some(serde_json::json!({
        "name": name, "original": model, "written": written, "feed": case.feed,
        "bound": case.args.iter().any(|word| word == "--dim"),
        "numeric": !case.skip.iter().any(|s| s == "numeric"),
    }))
}

fn check_folder(cases_in: &Path) {
    let cases = cases(cases_in);
    assert!(!cases.is_empty(), "{} holds no cases", cases_in.display());
    check_cases(&cases);
}

fn check_cases(cases: &[(PathBuf, Case)]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let jobs: Vec<_> =
        cases.iter().filter_map(|(path, case)| check_case(path, case, folder.path())).collect();
    let Some(python) = python("onnx, onnxruntime, numpy") else { return };
    let converted: Vec<_> = jobs.into_iter().map(|job| convert_text(&python, job)).collect();
    let list = folder.path().join("jobs.json");
    fs::write(&list, serde_json::to_string(&converted).expect("JSON")).expect("written");
    let script = root().join("tests/python/check_partitioned.py");
    let done = run_command(Command::new(&python).arg(script).arg(&list), Duration::from_secs(600));
    assert_eq!(done.status, Some(0), "{}\n{}", done.stdout, done.stderr);
}

/// The original as a binary model, for those who do not read the textual syntax.
fn convert_text(python: &Path, mut job: serde_json::Value) -> serde_json::Value {
    let original = PathBuf::from(job["original"].as_str().expect("a path"));
    if original.extension().is_some_and(|e| e == "onnxtxt") {
        let binary = original.with_extension("onnx");
        let code = "import onnx, onnx.parser, sys; onnx.save(onnx.parser.parse_model(open(sys.argv[1]).read()), sys.argv[2])";
        let mut command = Command::new(python);
        command.args(["-c", code]).arg(&original).arg(&binary);
        run_command(&mut command, Duration::from_secs(60)).expect(0);
        job["original"] = binary.display().to_string().into();
    }
    job
}

#[test]
fn own_cases() {
    check_folder(&root().join("tests/partition"));
}

#[test]
fn shared_cases() {
    if let Some(folder) = data("partition-cases") {
        check_folder(&folder);
    }
}

/// A whole model on the reference accelerator.
fn accelerated(name: &str, model: PathBuf, dim: Option<(&str, i64)>) -> (PathBuf, Case) {
    let feed = dim.map(|(name, size)| (name.to_owned(), size.into())).into_iter().collect();
    let model_file = Some(model.display().to_string());
    (model, Case { name: name.to_owned(), model_file, args: on_refnpu(dim), feed, ..Case::default() })
}

#[test]
fn accelerated_demo() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("demo.onnx");
    let demo = byoc::demo::network(7).expect("the demo's network can be built");
    byoc::onnx::save(&demo, &model).expect("the model can be written");
    check_cases(&[accelerated("demo", model, None)]);
}

#[test]
fn accelerated_models() {
    let Some(folder) = data("models") else { return };
    let cases = QUANTISED.map(|(name, dim)| accelerated(name, folder.join(name).join("model.onnx"), dim));
    check_cases(&cases);
}
