//! Local functions get the types and attributes of their calls.

use byoc_graph::infer::{InferOptions, infer, specialise};
use byoc_graph::{Graph, Model, onnx};

fn specialised(text: &str) -> Model {
    let mut model = onnx::from_text(text, None).expect("a model");
    infer(&mut model, &InferOptions::default()).expect("types");
    specialise(&mut model);
    model
}

fn type_of(graph: &Graph, value: &str) -> String {
    let id = graph.value_by_name(value).expect("the value");
    graph.value(id).ty.as_ref().map_or("unknown".to_owned(), ToString::to_string)
}

/// The functions by name, each with the type of the value `value` in its body.
fn bodies(model: &Model, value: &str) -> Vec<(String, String)> {
    model
        .functions
        .iter()
        .map(|(id, f)| (format!("{}{}", id.name, id.overload), type_of(&f.body, value)))
        .collect()
}

fn called(graph: &Graph) -> Vec<String> {
    graph
        .model_order()
        .iter()
        .map(|&id| &graph.node(id).op)
        .map(|op| format!("{}{}", op.name, op.overload))
        .collect()
}

fn pairs<const N: usize>(list: [(&str, &str); N]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

const HEADER: &str = r#"<ir_version: 10, opset_import: ["" : 21, "local" : 1]>"#;
const TWICE: &str = r#"<domain: "local", opset_import: ["" : 21]>
    twice<axis: int = 0>(v) => (w) { t = Relu(v) w = Concat<axis: int = @axis>(t, t) }"#;

#[test]
fn a_body_gets_the_types_and_attributes_of_its_call() {
    let model =
        specialised(&format!("{HEADER} g (float[2,3] x) => (y) {{ y = local.twice<axis = 1>(x) }} {TWICE}"));
    assert_eq!(bodies(&model, "w"), pairs([("twice", "float32[2,6]")]));
    let (_, function) = model.functions.first().expect("the function");
    let concat = function.body.node(function.body.model_order()[1]);
    assert_eq!(concat.attrs["axis"].as_int(), Some(1));
}

#[test]
fn each_way_of_calling_has_a_body_and_equal_ways_share_it() {
    let model = specialised(&format!(
        "{HEADER} g (float[2,3] x) => (y, z) {{
            a = local.twice(x)
            b = local.twice<axis = 1>(x)
            y = local.twice<axis = 0>(a)
            z = local.twice<axis = 1>(x)
        }} {TWICE}"
    ));
    let expected = [("twice", "float32[4,3]"), ("twicev2", "float32[2,6]"), ("twicev3", "float32[8,3]")];
    assert_eq!(bodies(&model, "w"), pairs(expected));
    assert_eq!(called(&model.graph), ["twice", "twicev2", "twicev3", "twicev2"]);
    onnx::to_bytes(&model).expect("a model that can be written");
}

#[test]
fn what_a_function_calls_is_specialised_with_it() {
    let model = specialised(&format!(
        r#"{HEADER} g (float[N] x, float16[3] h) => (y, z) {{ y = local.outer(x) z = local.outer(h) }}
        <domain: "local", opset_import: ["" : 21, "local" : 1]>
        outer(w) => (r) {{ r = local.inner(w) }}
        <domain: "local", opset_import: ["" : 21]>
        inner(w) => (s) {{ s = Relu(w) }}"#
    ));
    let names = ["outer", "outerv2", "inner", "innerv2"];
    let types = ["float32[N]", "float16[3]", "float32[N]", "float16[3]"];
    let expected: Vec<_> = names.iter().zip(types).map(|(a, b)| (a.to_string(), b.to_string())).collect();
    assert_eq!(bodies(&model, "w"), expected);
    assert_eq!(called(&model.functions[1].body), ["innerv2"]);
}

#[test]
fn shapes_that_are_passed_as_values_count() {
    let model = specialised(&format!(
        r#"{HEADER} g (float[2,6] x) => (y, z)
            <int64[1] flat = {{-1}}, int64[2] wide = {{3, 4}}>
        {{ y = local.view(x, flat) z = local.view(x, wide) }}
        <domain: "local", opset_import: ["" : 21]>
        view(v, shape) => (w) {{ w = Reshape(v, shape) }}"#
    ));
    assert_eq!(bodies(&model, "w"), pairs([("view", "float32[12]"), ("viewv2", "float32[3,4]")]));
}

#[test]
fn calls_in_bodies_count_too() {
    let model = specialised(&format!(
        "{HEADER} g (float[2,3] x, bool c) => (y) {{
            y = If(c) <
                then_branch = yes () => (float[2,6] p) {{ p = local.twice<axis = 1>(x) }},
                else_branch = no () => (float[2,6] q) {{ q = Concat<axis = 1>(x, x) }}
            >
        }} {TWICE}"
    ));
    assert_eq!(bodies(&model, "w"), pairs([("twice", "float32[2,6]")]));
}

#[test]
fn overloads_that_are_taken_are_left_alone() {
    let model = specialised(&format!(
        r#"{HEADER} g (float[1] x, float[2] y) => (p, q, r, s) {{
            p = local.f(x) q = local.f(y) r = local.f:v2(x) s = local.f:v2(y)
        }}
        <domain: "local", opset_import: ["" : 21]>
        f(v) => (w) {{ w = Relu(v) }}
        <domain: "local", overload: "v2", opset_import: ["" : 21]>
        f(v) => (w) {{ w = Neg(v) }}"#
    ));
    let types = ["float32[1]", "float32[2]", "float32[1]", "float32[2]"];
    let expected: Vec<_> = ["f", "fv2_", "fv2", "fv2_v2"].iter().zip(types).collect();
    let expected: Vec<_> = expected.into_iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    assert_eq!(bodies(&model, "w"), expected);
}

#[test]
fn what_the_model_never_reaches_keeps_its_functions_general() {
    let model = specialised(&format!(
        r#"{HEADER} g (float[1] x) => (p) {{ p = local.f(x) }}
        <domain: "local", opset_import: ["" : 21]>
        f(v) => (w) {{ w = Relu(v) }}
        <domain: "local", opset_import: ["" : 21, "local" : 1]>
        dead(v) => (w) {{ w = local.f(v) }}"#
    ));
    assert_eq!(bodies(&model, "w"), pairs([("f", "unknown"), ("dead", "unknown")]));
}

#[test]
fn too_many_ways_leave_a_function_general() {
    let calls: String = (0..40).map(|i| format!("y{i} = local.f<n = {i}>(x) ")).collect();
    let outputs: Vec<String> = (0..40).map(|i| format!("y{i}")).collect();
    let model = specialised(&format!(
        r#"{HEADER} g (float[1] x) => ({}) {{ {calls} }}
        <domain: "local", opset_import: ["" : 21]>
        f<n>(v) => (w) {{ w = Softmax<axis: int = @n>(v) }}"#,
        outputs.join(", ")
    ));
    assert_eq!(bodies(&model, "w"), pairs([("f", "unknown")]));
}

#[test]
fn a_deep_chain_of_calls_ends() {
    let function = |i: usize| {
        format!(
            r#"<domain: "local", opset_import: ["" : 21, "local" : 1]>
            f{i}(v) => (w) {{ t = local.f{next}(v) w = local.f{next}(t) }} "#,
            next = i + 1
        )
    };
    let chain: String = (0..200).map(function).collect();
    let model = specialised(&format!(
        r#"{HEADER} g (float[1] x) => (y) {{ y = local.f0(x) }} {chain}
        <domain: "local", opset_import: ["" : 21]>
        f200(v) => (w) {{ w = Relu(v) }}"#
    ));
    // Beyond some depth nothing is specialised, so what those functions make has no type either.
    let copies = model.functions.keys().filter(|id| !id.overload.is_empty()).count();
    assert_eq!(model.functions.len(), 201 + copies);
    let types = bodies(&model, "v");
    assert_eq!(types[0].1, "float32[1]");
    assert!(types.iter().any(|(name, ty)| name == "f200" && ty == "unknown"));
    assert!(copies < 64);
}
