//! Runs the cases in `tests/infer_cases/*.txt`.
//!
//! A case begins with `== name`. Then come, in any order, lines of options (`opset DOMAIN VERSION`,
//! `dim NAME=N`, `input NAME=1x3`), the graph and functions in ONNX's textual syntax, and what is
//! expected: `-> value type` a value's type, `!! text` an error, `~~ text` a warning that contains the
//! text. A case without `~~` expects no warning.

use std::fmt::Write as _;
use std::path::Path;

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{Graph, Model, Type, onnx};

#[derive(Default)]
struct Case {
    name: String,
    opsets: Vec<(String, i64)>,
    options: InferOptions,
    text: String,
    types: Vec<(String, String)>,
    error: Option<String>,
    warnings: Vec<String>,
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        let word = line.split_whitespace().next().unwrap_or("");
        let rest = line.trim_start().strip_prefix(word).unwrap_or("").trim();
        let pair = |separator: char| rest.split_once(separator).expect("NAME and value");
        match word {
            "opset" => {
                let (domain, version) = pair(' ');
                case.opsets.push((domain.to_owned(), version.parse().expect("a version")));
            }
            "dim" => {
                let (name, value) = pair('=');
                case.options.dims.push((name.to_owned(), value.parse().expect("a number")));
            }
            "input" => {
                let (name, shape) = pair('=');
                let shape = shape.split('x').map(|n| n.parse().expect("a number")).collect();
                case.options.input_shapes.push((name.to_owned(), shape));
            }
            "->" => {
                let (name, ty) = pair(' ');
                case.types.push((name.to_owned(), ty.trim().to_owned()));
            }
            "!!" => case.error = Some(rest.to_owned()),
            "~~" => case.warnings.push(rest.to_owned()),
            _ => {
                case.text.push_str(line);
                case.text.push('\n');
            }
        }
    }
    cases
}

impl Case {
    fn model(&self) -> Model {
        let mut imports = vec![("".to_owned(), 21)];
        for (domain, version) in &self.opsets {
            let domain = if domain == "ai.onnx" { "" } else { domain };
            imports.retain(|(known, _)| known != domain);
            imports.push((domain.to_owned(), *version));
        }
        let imports: Vec<String> = imports.iter().map(|(d, v)| format!("\"{d}\" : {v}")).collect();
        let text = format!("<ir_version: 10, opset_import: [{}]>\n{}", imports.join(", "), self.text);
        onnx::from_text(&text, None).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What is wrong, if anything.
    fn run(&self) -> String {
        let mut model = self.model();
        let mut wrong = String::new();
        let warnings = match (infer(&mut model, &self.options), &self.error) {
            (Err(error), Some(expected)) if error.to_string().contains(expected.as_str()) => return wrong,
            (Err(error), _) => return format!("error: {error}\n"),
            (Ok(_), Some(expected)) => return format!("no error, but expected {expected}\n"),
            (Ok(warnings), None) => warnings,
        };
        for (name, expected) in &self.types {
            let got = find(&model.graph, name).map_or("nothing".to_owned(), |ty| ty.to_string());
            if got != *expected {
                let _ = writeln!(wrong, "{name} is {got}, not {expected}");
            }
        }
        let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        let expected = |text: &String| self.warnings.iter().any(|w| text.contains(w.as_str()));
        for text in texts.iter().filter(|text| !expected(text)) {
            let _ = writeln!(wrong, "warning: {text}");
        }
        for text in self.warnings.iter().filter(|w| !texts.iter().any(|text| text.contains(w.as_str()))) {
            let _ = writeln!(wrong, "no warning with {text}");
        }
        wrong
    }
}

/// The type of a value of the graph or of the bodies in it.
fn find<'g>(graph: &'g Graph, name: &str) -> Option<&'g Type> {
    if let Some(id) = graph.value_by_name(name) {
        return graph.value(id).ty.as_ref();
    }
    graph.node_ids().find_map(|node| graph.bodies(node).find_map(|(_, body)| find(body, name)))
}

#[test]
fn cases_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/infer_cases");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("cases").map(|f| f.expect("a file").path()).collect();
    files.sort();
    let mut wrong = String::new();
    let mut count = 0;
    for file in files {
        for case in parse(&std::fs::read_to_string(&file).expect("a readable file")) {
            count += 1;
            let found = case.run();
            if !found.is_empty() {
                let file = file.file_name().unwrap_or_default().display();
                let _ = writeln!(wrong, "{file}: {}:\n{found}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(count > 50, "only {count} cases");
}
