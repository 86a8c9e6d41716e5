//! `docs/operators.md` is what the registries say. `BYOC_BLESS=1` writes it anew.

use std::fmt::Write;

use byoc_cpu::{Registry, reference};
use byoc_graph::schema::{self, OpSchema, TypeSet};
use byoc_graph::{DType, normalise};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
const MARK: &str = "<!-- generated from here on -->\n";

const DOMAINS: &[(&str, &str)] = &[
    ("", "ai.onnx"),
    ("ai.onnx.ml", "ai.onnx.ml"),
    ("ai.onnx.preview", "ai.onnx.preview"),
    ("ai.onnx.preview.training", "ai.onnx.preview.training"),
    ("com.microsoft", "com.microsoft"),
];

/// Groups of element types that have a name of their own, the widest first.
const GROUPS: &[(&str, &[DType])] = &[
    ("ints", &[DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64]),
    ("f8", &[DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ]),
    ("floats", &[DType::F16, DType::F32, DType::F64, DType::BF16]),
    ("signed ints", &[DType::I8, DType::I16, DType::I32, DType::I64]),
    ("unsigned ints", &[DType::U8, DType::U16, DType::U32, DType::U64]),
    ("complex", &[DType::C64, DType::C128]),
    ("4-bit ints", &[DType::I4, DType::U4]),
    ("2-bit ints", &[DType::I2, DType::U2]),
];

fn element_types(set: &TypeSet) -> String {
    let codes = (0..64).filter(|code| set.tensors & (1 << code) != 0);
    let mut types: Vec<DType> = codes.filter_map(DType::from_onnx).collect();
    let mut words = Vec::new();
    for (name, group) in GROUPS {
        if group.iter().all(|t| types.contains(t)) {
            words.push((*name).to_owned());
            types.retain(|t| !group.contains(t));
        }
    }
    words.extend(types.iter().map(ToString::to_string));
    if set.sequences != 0 {
        words.push("sequences".into());
    }
    if set.optionals | set.optional_sequences != 0 {
        words.push("optionals".into());
    }
    if !set.others.is_empty() {
        words.push("maps".into());
    }
    words.join(", ")
}

/// Element types of the first input; of the first output where there is no input.
fn first_types(schema: &OpSchema) -> String {
    let Some(first) = schema.inputs.first().or(schema.outputs.first()) else { return String::new() };
    schema.constraint(first.type_str).map_or_else(|| first.type_str.to_owned(), |c| element_types(&c.types))
}

/// Operators that are written out as the nodes that compute them before anything runs.
const WRITTEN_OUT: &[&str] = &["Gradient"];

fn run_by(schema: &OpSchema, registry: &Registry) -> Option<String> {
    if WRITTEN_OUT.contains(&schema.name) {
        return Some("rules".into());
    }
    let mut ways: Vec<&str> = registry.entries(schema.domain, schema.name).iter().map(|e| e.name).collect();
    ways.dedup();
    if reference::lookup(schema.domain, schema.name, i64::MAX).is_some() {
        ways.push("reference");
    }
    (!ways.is_empty()).then(|| ways.join(", "))
}

fn table() -> String {
    let registry = Registry::default();
    let mut text = String::from(MARK);
    for (domain, shown) in DOMAINS {
        let _ = writeln!(
            text,
            "\n## {shown}\n\n| operator | opsets | element types | run by |\n|---|---|---|---|"
        );
        let newest: Vec<&OpSchema> = {
            let mut all: Vec<_> = schema::all().filter(|s| s.domain == *domain).collect();
            all.dedup_by_key(|s| s.name);
            all
        };
        for schema in newest {
            let mut since: Vec<i64> =
                schema::versions(domain, schema.name).iter().map(|s| s.since_version).collect();
            since.reverse();
            let since: Vec<String> = since.iter().map(ToString::to_string).collect();
            let by = run_by(schema, &registry).unwrap_or_else(|| "–".into());
            let gone = if schema.deprecated { " (deprecated)" } else { "" };
            let _ = writeln!(
                text,
                "| {}{gone} | {} | {} | {by} |",
                schema.name,
                since.join(", "),
                first_types(schema)
            );
        }
    }
    let _ = write!(text, "\n## Gradient\n\n{}.\n", normalise::gradient_operators().join(", "));
    text
}

#[test]
fn the_page_of_operators_is_what_the_registries_say() {
    let page = std::fs::read_to_string(PATH).expect("the page can be read");
    let (words, old) = page.split_once(MARK).expect("the page has its mark");
    let new = table();
    if std::env::var_os("BYOC_BLESS").is_some() {
        std::fs::write(PATH, format!("{words}{new}")).expect("the page can be written");
    } else {
        assert!(
            format!("{MARK}{old}") == new,
            "docs/operators.md is out of date: run this test with BYOC_BLESS=1"
        );
    }
}

#[test]
fn every_operator_of_the_standard_runs() {
    let registry = Registry::default();
    for schema in schema::all().filter(|s| s.domain.is_empty() || s.domain.starts_with("ai.onnx.")) {
        let runs = run_by(schema, &registry).is_some();
        assert!(runs, "{}.{} is not run by anything", schema.domain, schema.name);
    }
}
