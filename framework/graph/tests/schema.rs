//! The schema tables: lookup by version, traits, and agreement with the `onnx` package.

mod support;

use byoc_graph::AttrKind;
use byoc_graph::schema::{self, AttrDefault, FormalOption, FunctionBody};

fn since(domain: &str, operator: &str, opset: i64) -> Option<i64> {
    schema::lookup(domain, operator, opset).map(|s| s.since_version)
}

#[test]
fn lookup_takes_the_newest_version_that_holds() {
    assert_eq!(since("", "Conv", 21), Some(11));
    assert_eq!(since("", "Conv", 22), Some(22));
    assert_eq!(since("ai.onnx", "Conv", 10_000), Some(22));
    assert_eq!(since("", "LayerNormalization", 17), Some(17));
    assert_eq!(since("", "Gelu", 19), None);
    assert_eq!(since("", "NoSuchOperator", 19), None);
    assert_eq!(since("no.such.domain", "Conv", 19), None);
    assert_eq!(since("ai.onnx.ml", "TreeEnsemble", 5), Some(5));
    assert_eq!(since("com.microsoft", "FusedConv", 1), Some(1));
}

#[test]
fn operators_that_the_standard_dropped_are_still_known() {
    assert!(schema::lookup("", "Upsample", 9).is_some_and(|s| !s.deprecated));
    assert!(schema::lookup("", "Upsample", 10).is_some_and(|s| s.deprecated));
    assert!(schema::lookup("", "ImageScaler", 7).is_some_and(|s| !s.deprecated));
    assert!(schema::exists("ai.onnx", "Scatter"));
    assert!(!schema::exists("ai.onnx.ml", "Scatter"));
}

#[test]
fn signatures_read_as_the_standard_has_them() {
    let conv = schema::lookup("", "Conv", 11).expect("a Conv");
    assert_eq!(conv.attribute("group").expect("group").default, Some(AttrDefault::Int(1)));
    assert_eq!(conv.attribute("auto_pad").expect("auto_pad").default, Some(AttrDefault::String("NOTSET")));
    assert_eq!(conv.attribute("pads").expect("pads").kind, AttrKind::Ints);
    assert_eq!(conv.inputs[2].option, FormalOption::Optional);
    assert_eq!((conv.min_inputs(), conv.max_inputs()), (2, Some(3)));
    let concat = schema::lookup("", "Concat", 13).expect("a Concat");
    assert!(concat.attribute("axis").expect("axis").required);
    assert_eq!((concat.min_inputs(), concat.max_inputs()), (1, None));
    assert_eq!(concat.input(7).expect("variadic").name, "inputs");
    let gelu = schema::lookup("", "Gelu", 20).expect("a Gelu");
    assert_eq!(gelu.function_body, FunctionBody::ContextDependent);
    assert_eq!(schema::latest(""), Some(28));
    assert_eq!(schema::latest("ai.onnx.ml"), Some(5));
}

#[test]
fn traits_hold_at_every_version() {
    for opset in 1..=28 {
        let add = schema::lookup("", "Add", opset).expect("Add is as old as the standard");
        assert!(add.is_commutative() && add.is_elementwise() && !add.is_compute_heavy());
        let conv = schema::lookup("", "Conv", opset).expect("so is Conv");
        assert!(conv.is_compute_heavy() && !conv.is_elementwise());
    }
    assert!(!schema::lookup("", "Sub", 14).expect("Sub").is_commutative());
    assert!(schema::lookup("", "RandomNormal", 22).expect("RandomNormal").is_random());
    assert!(schema::lookup("", "Transpose", 22).expect("Transpose").is_data_movement());
}

/// One line a schema, in a form that both sides can print.
const DUMP: &str = r#"
import onnx.defs
def formal(f):
    return f"{f.name} {f.type_str.replace('tensor(','').replace(')','')} {f.option.name} {int(f.is_homogeneous or f.option.name != 'Variadic')}"
def default(a):
    d = a.default_value
    return {0: "-", 1: f"{d.f:.6e}", 2: str(d.i), 3: d.s.decode(), 6: str(len(d.floats)), 7: str(len(d.ints)), 8: str(len(d.strings))}[d.type]
for s in onnx.defs.get_all_schemas_with_history():
    if s.support_level.name != "COMMON":
        continue
    print("|".join([
        s.domain, s.name, str(s.since_version), str(int(s.deprecated)),
        str(int(s.has_function or s.has_context_dependent_function)),
        f"{s.min_input}..{s.max_input} {s.min_output}..{s.max_output}",
        ", ".join(map(formal, s.inputs)) + " -> " + ", ".join(map(formal, s.outputs)),
        ", ".join(f"{n} {a.type.name} {int(a.required)} {default(a)}" for n, a in sorted(s.attributes.items())),
        ", ".join(sorted(f"{t.type_param_str} {len(t.allowed_type_strs)}" for t in s.type_constraints)),
    ]))
"#;

#[test]
fn tables_agree_with_the_onnx_package() {
    let Some(text) = support::python(DUMP, &[]) else { return };
    let mut compared = 0;
    for theirs in text.lines() {
        let mut fields = theirs.split('|');
        let (Some(domain), Some(name), Some(version)) = (fields.next(), fields.next(), fields.next()) else {
            panic!("not a schema: {theirs}");
        };
        let version: i64 = version.parse().expect("a version");
        if version > schema::latest(domain).unwrap_or(0) {
            continue; // the package is newer than the tables
        }
        let ours = schema::lookup(domain, name, version).unwrap_or_else(|| panic!("no schema for {theirs}"));
        assert_eq!(dump(ours), theirs);
        compared += 1;
    }
    assert!(compared > 500, "only {compared} schemas compared");
}

fn dump(s: &schema::OpSchema) -> String {
    let formal = |f: &schema::Formal| {
        let option = match f.option {
            FormalOption::Single => "Single",
            FormalOption::Optional => "Optional",
            FormalOption::Variadic { .. } => "Variadic",
        };
        format!("{} {} {option} {}", f.name, f.type_str, u8::from(f.homogeneous))
    };
    let join = |items: Vec<String>| items.join(", ");
    let max = |arity: Option<usize>| arity.unwrap_or(i32::MAX as usize);
    let attribute = |a: &schema::AttrSchema| {
        let kind = match a.kind {
            AttrKind::SparseTensor => "SPARSE_TENSOR".to_owned(),
            AttrKind::Type => "TYPE_PROTO".to_owned(),
            AttrKind::Str => "STRING".to_owned(),
            AttrKind::Strs => "STRINGS".to_owned(),
            kind => format!("{kind:?}").to_uppercase(),
        };
        format!("{} {kind} {} {}", a.name, u8::from(a.required), default(a.default))
    };
    let mut constraints: Vec<String> =
        s.type_constraints.iter().map(|c| format!("{} {}", c.name, c.types.len())).collect();
    constraints.sort();
    [
        s.domain.to_owned(),
        s.name.to_owned(),
        s.since_version.to_string(),
        u8::from(s.deprecated).to_string(),
        u8::from(s.function_body != FunctionBody::None).to_string(),
        format!("{}..{} {}..{}", s.min_inputs(), max(s.max_inputs()), s.min_outputs(), max(s.max_outputs())),
        join(s.inputs.iter().map(formal).collect()) + " -> " + &join(s.outputs.iter().map(formal).collect()),
        join(s.attributes.iter().map(attribute).collect()),
        join(constraints),
    ]
    .join("|")
}

fn default(value: Option<AttrDefault>) -> String {
    match value {
        None => "-".to_owned(),
        Some(AttrDefault::Int(i)) => i.to_string(),
        Some(AttrDefault::Float(f)) => python_exponent(f),
        Some(AttrDefault::String(s)) => s.to_owned(),
        Some(AttrDefault::Ints(list)) => list.len().to_string(),
        Some(AttrDefault::Floats(list)) => list.len().to_string(),
        Some(AttrDefault::Strings(list)) => list.len().to_string(),
    }
}

/// `{:.6e}` as Python writes it: a sign and two digits at least.
fn python_exponent(value: f32) -> String {
    let text = format!("{:.6e}", f64::from(value));
    let (mantissa, exponent) = text.split_once('e').expect("an exponent");
    let exponent: i32 = exponent.parse().expect("a number");
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[test]
fn every_operator_of_the_standard_has_an_inference_rule() {
    let missing: Vec<_> = schema::all()
        .filter(|s| s.domain != "com.microsoft" && !byoc_graph::infer::has_rule(s.domain, s.name))
        .map(|s| s.name)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
