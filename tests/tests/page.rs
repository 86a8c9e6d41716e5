//! The page that shows a partition, clicked through in a browser where there is one.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use byoc_tests::{data, plugin, python, root, run, run_command};

/// A vendor of single operators.
const TABLE: &str = r#"
[vendor]
name = "npu"
max_regions = 10000

[[pattern]]
name = "relu"
match = "y = Relu(x)"

[[pattern]]
name = "gate"
match = "y = Sigmoid(x)"
"#;

/// Clicks through a page; what it says, or that there is no browser.
fn click(page: &Path, node: &str) {
    let Some(python) = python("urllib.request") else { return };
    let mut command = Command::new(python);
    command.arg(root().join("tests/python/click_page.py")).arg(page).arg(node);
    let done = run_command(&mut command, Duration::from_secs(180));
    print!("{}", done.stdout);
    if done.status != Some(77) {
        done.expect(0);
    }
}

fn page(folder: &Path, model: &Path, words: &[&str]) -> std::path::PathBuf {
    let page = folder.join("page.html");
    let (model, out) = (model.display().to_string(), page.display().to_string());
    let call = ["partition", &model, "--html", &out, "--quiet"];
    run(call.iter().chain(words)).expect(0);
    page
}

#[test]
fn the_demo_can_be_clicked_through() {
    let folder = tempfile::tempdir().expect("folder");
    let model = folder.path().join("model.onnx");
    byoc::onnx::save(&byoc::demo::network(7).expect("the network"), &model).expect("written");
    let refnpu = plugin("byoc-refnpu").display().to_string();
    let page = page(folder.path(), &model, &["--plugin", &refnpu]);
    let text = std::fs::read_to_string(&page).expect("the page");
    assert!(text.len() < 200_000, "{} bytes for a small model", text.len());
    assert_eq!(text.matches("<script").count(), 2);
    click(&page, "probabilities");
}

#[test]
fn a_model_of_the_test_data_can_be_clicked_through() {
    let Some(model) = data("models/mobilenetv2_qdq_int8/model.onnx") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let refnpu = plugin("byoc-refnpu").display().to_string();
    let page = page(folder.path(), &model, &["--plugin", &refnpu, "--dim", "batch=1"]);
    let report = std::fs::read_to_string(&page).expect("the page");
    assert!(report.contains("QLinear") || report.contains("QuantizeLinear"));
    click(&page, "Conv_305");
}

/// The comparison of policies is a tab of its own.
#[test]
fn policies_are_compared_on_the_page() {
    let folder = tempfile::tempdir().expect("folder");
    let model = folder.path().join("model.onnxtxt");
    let text = "<ir_version: 9, opset_import: [\"\" : 17]>\ng (float[64] x) => (float[64] y) {\n  a = Add(x, x)\n  b = Relu(a)\n  y = Tanh(b)\n}\n";
    std::fs::write(&model, text).expect("written");
    let paced = plugin("byoc-paced-a").display().to_string();
    let page = page(folder.path(), &model, &["--plugin", &paced, "--compare"]);
    let text = std::fs::read_to_string(&page).expect("the page");
    for part in
        ["\"title\":\"Policies\"", "\"greedy\",\"1\",\"2 of 3\"", "\"measured\",\"1\"", "cross the border"]
    {
        assert!(text.contains(part), "{part}");
    }
    click(&page, "b");
}

/// Names that would end the element or begin another stay names.
#[test]
fn names_stay_names() {
    let folder = tempfile::tempdir().expect("folder");
    let model = folder.path().join("model.onnxtxt");
    let text = "<ir_version: 9, opset_import: [\"\" : 17]>\ng (float[4] x) => (float[4] y) {\n  [\"</script><b>\"] e = Exp(x)\n  y = Relu(e)\n}\n";
    std::fs::write(&model, text).expect("written");
    let table = folder.path().join("table.toml");
    std::fs::write(&table, TABLE).expect("written");
    let page = page(folder.path(), &model, &["--table", &table.display().to_string()]);
    let text = std::fs::read_to_string(&page).expect("the page");
    assert_eq!(text.matches("</script>").count(), 2);
    click(&page, "</script><b>");
}

#[test]
fn five_thousand_nodes_move_fluently() {
    let folder = tempfile::tempdir().expect("folder");
    let (model, table) = (folder.path().join("model.onnxtxt"), folder.path().join("table.toml"));
    let mut text =
        "<ir_version: 9, opset_import: [\"\" : 17]>\ng (float[4] x) => (float[4] y) {\n  a0 = Relu(x)\n  b0 = Exp(x)\n"
            .to_owned();
    for i in 1..1250 {
        let _ = writeln!(text, "  a{i} = Relu(b{})\n  c{i} = Sigmoid(a{i})\n  d{i} = Tanh(a{i})", i - 1);
        let _ = writeln!(text, "  b{i} = Add(c{i}, d{i})");
    }
    text += "  y = Add(a0, b1249)\n}\n";
    std::fs::write(&model, text).expect("written");
    std::fs::write(&table, TABLE).expect("written");
    let page = page(folder.path(), &model, &["--table", &table.display().to_string()]);
    click(&page, "c700");
}

/// The plain pages, of what is verified and of what is covered.
#[test]
fn plain_pages_fit_a_narrow_screen() {
    let Some(python) = python("urllib.request") else { return };
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (covered, verified, save) = (path("covered.html"), path("verified.html"), path("saved"));
    let model = folder.path().join("a_model_with_quite_a_long_name_that_has_no_space_to_break_it_at.onnx");
    byoc::onnx::save(&byoc::demo::network(7).expect("the network"), &model).expect("written");
    let refnpu = plugin("byoc-refnpu").display().to_string();
    let all = folder.path().display().to_string();
    run(["coverage", &all, "--plugin", &refnpu, "--html", &covered]).expect(0);
    let words = ["--filter", "table|file", "--save", &save, "--html", &verified];
    run(["verify", &refnpu].iter().chain(&words)).expect(0);
    let mut command = Command::new(python);
    command.arg(root().join("tests/python/narrow_page.py")).args([&covered, &verified]);
    let done = run_command(&mut command, Duration::from_secs(180));
    if done.status != Some(77) {
        done.expect(0);
    }
}
