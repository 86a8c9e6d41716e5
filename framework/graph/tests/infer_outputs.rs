//! Inference against what models really compute: every claim about an output has to hold of the
//! reference output, for shapes as declared, as given (with small inputs known), and as symbols.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use byoc_graph::infer::{InferOptions, infer};
use byoc_graph::{DType, Datum, Dim, Expr, Graph, Model, TensorType, Type, ValueId, onnx, schema};

/// A model with one set of inputs and outputs.
struct Case {
    path: PathBuf,
    model: Model,
    inputs: Vec<Option<Datum>>,
    outputs: Vec<Option<Datum>>,
}

impl Case {
    fn all_below(folder: &Path) -> Vec<Case> {
        let mut cases = Vec::new();
        for path in support::files_below(folder, "onnx") {
            let parent = path.parent().expect("in a folder");
            let data = ["test_data_set_0", "test_data_0", "."].map(|name| parent.join(name));
            let Some(data) = data.iter().find(|data| data.join("output_0.pb").exists()) else { continue };
            let Ok(model) = onnx::load(&path) else { continue };
            let graph = &model.graph;
            let read = |kind: &str, k: usize, id: ValueId| {
                onnx::read_datum(data.join(format!("{kind}_{k}.pb")), graph.value(id).ty.as_ref()).ok()
            };
            // Inputs that have a default are not in the data.
            let mut given = 0..;
            let inputs = graph.inputs().iter().map(|&id| match graph.default_of(id) {
                None => read("input", given.next()?, id),
                Some(_) => None,
            });
            let outputs = graph.outputs().iter().enumerate().map(|(k, &id)| read("output", k, id));
            let (inputs, outputs) = (inputs.collect(), outputs.collect());
            cases.push(Case { path, inputs, outputs, model });
        }
        cases
    }

    /// The model without any type but those of its inputs and constants.
    fn stripped(&self) -> Model {
        let mut model = self.model.clone();
        let graph = &mut model.graph;
        let ids: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
        for id in ids {
            if !graph.inputs().contains(&id) && !graph.is_constant(id) {
                graph.value_mut(id).ty = None;
            }
        }
        model
    }

    /// The model with its small inputs as constants, so that rules see values as well as shapes.
    fn with_values(&self) -> Model {
        let mut model = self.stripped();
        for (id, datum) in model.graph.inputs().to_vec().into_iter().zip(&self.inputs) {
            if let Some(Datum::Tensor(tensor)) = datum
                && tensor.len() <= 64
            {
                model.graph.set_constant(id, Arc::new(tensor.clone()));
            }
        }
        model
    }

    fn input_shapes(&self) -> Vec<(String, Vec<i64>)> {
        let named = self.model.graph.inputs().iter().zip(&self.inputs);
        let shapes = named.filter_map(|(&id, datum)| {
            let tensor = datum.as_ref()?.as_tensor()?;
            let dims = tensor.dims().iter().map(|&n| n as i64).collect();
            Some((self.model.graph.value(id).name.to_string(), dims))
        });
        shapes.collect()
    }

    /// Infers the model under `options` and checks every claim about its outputs. Gives back how many
    /// outputs are known completely.
    fn check(&self, mut model: Model, options: &InferOptions, failures: &mut Vec<String>) -> usize {
        let before = symbols(&model.graph, &self.inputs);
        let name = self.path.display();
        match infer(&mut model, options) {
            Ok(warnings) => failures.extend(warnings.iter().map(|w| format!("{name}: {w}"))),
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                return 0;
            }
        }
        let verbose = std::env::var_os("BYOC_TEST_VERBOSE").is_some();
        let mut complete = 0;
        for (&id, datum) in model.graph.outputs().iter().zip(&self.outputs) {
            let (Some(ty), Some(datum)) = (&model.graph.value(id).ty, datum) else { continue };
            match conforms(ty, datum, &before) {
                Err(why) => failures.push(format!("{name}: {}: {why}", model.graph.value(id).name)),
                Ok(known) => {
                    if verbose && !known {
                        println!("incomplete: {name}: {ty} for {} {options:?}", describe(datum));
                    }
                    complete += usize::from(known);
                }
            }
        }
        complete
    }
}

/// What the symbolic dimensions of the inputs are in this case.
fn symbols(graph: &Graph, inputs: &[Option<Datum>]) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for (&id, datum) in graph.inputs().iter().zip(inputs) {
        let shape = graph.value(id).ty.as_ref().and_then(Type::shape);
        let (Some(shape), Some(tensor)) = (shape, datum.as_ref().and_then(Datum::as_tensor)) else {
            continue;
        };
        for (dim, &n) in shape.iter().zip(tensor.dims()) {
            if let Dim::Symbolic(expr) = dim
                && let Some(symbol) = expr.as_symbol()
            {
                found.insert(symbol.to_string(), n as i64);
            }
        }
    }
    found
}

/// Whether a value is of a type; and if so, whether the type says all there is to say.
fn conforms(ty: &Type, datum: &Datum, symbols: &BTreeMap<String, i64>) -> Result<bool, String> {
    let wrong = || Err(format!("{ty} inferred for {}", describe(datum)));
    match (ty, datum) {
        (Type::Tensor(claimed), Datum::Tensor(tensor)) => {
            if claimed.dtype.is_some_and(|d| d != tensor.dtype()) {
                return wrong();
            }
            let Some(shape) = &claimed.shape else { return Ok(false) };
            if shape.len() != tensor.rank() {
                return wrong();
            }
            let mut complete = claimed.dtype.is_some();
            for (dim, &n) in shape.iter().zip(tensor.dims()) {
                let value = dim.substitute(&|name| symbols.get(name).map(|&v| Expr::constant(v)));
                match value {
                    Dim::Static(claimed) if claimed != n as i64 => {
                        return Err(format!("{ty} inferred for {}, with {symbols:?}", describe(datum)));
                    }
                    Dim::Static(_) => {}
                    _ => complete = false,
                }
            }
            Ok(complete)
        }
        (Type::Sequence(element), Datum::Sequence { items, .. }) => {
            let Some(element) = element else { return Ok(false) };
            let known: Result<Vec<bool>, String> =
                items.iter().map(|item| conforms(element, item, symbols)).collect();
            Ok(known?.into_iter().all(|k| k))
        }
        (Type::Optional(element), Datum::Optional { value, .. }) => match (element, value) {
            (Some(element), Some(value)) => conforms(element, value, symbols),
            _ => Ok(true),
        },
        // A file may hold the element of an optional without its wrapping.
        (Type::Optional(Some(element)), datum) => conforms(element, datum, symbols),
        (Type::Map(..), Datum::Map { .. }) | (Type::SparseTensor(_), _) => Ok(true),
        _ => wrong(),
    }
}

fn describe(datum: &Datum) -> String {
    match datum {
        Datum::Tensor(tensor) => format!("{}", TensorType::of_static(tensor.dtype(), tensor.dims())),
        other => other.kind().to_owned(),
    }
}

/// Replaces every dimension of every tensor input by a symbol of its own.
fn symbolic(mut model: Model) -> Model {
    let inputs = model.graph.inputs().to_vec();
    for (k, id) in inputs.into_iter().enumerate() {
        if let Some(Type::Tensor(TensorType { shape: Some(dims), .. })) = &mut model.graph.value_mut(id).ty {
            for (i, dim) in dims.iter_mut().enumerate() {
                *dim = Dim::symbol(format!("in{k}_{i}"));
            }
        }
    }
    model
}

/// Checks all cases in all three ways; the outputs that are known completely have to be at least so many
/// of a hundred.
fn check_all(cases: &[Case], enough: [usize; 3]) {
    let mut failures = Vec::new();
    let mut complete = [0; 3];
    let mut outputs = 0;
    for case in cases {
        outputs += case.outputs.iter().flatten().count();
        let given = InferOptions { input_shapes: case.input_shapes(), ..InferOptions::default() };
        complete[0] += case.check(case.stripped(), &InferOptions::default(), &mut failures);
        complete[1] += case.check(case.with_values(), &given, &mut failures);
        complete[2] += case.check(symbolic(case.stripped()), &InferOptions::default(), &mut failures);
    }
    println!(
        "{} models, {outputs} outputs; known completely: {} as declared, {} as given, {} as symbols",
        cases.len(),
        complete[0],
        complete[1],
        complete[2]
    );
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} claims are wrong", failures.len());
    for (complete, enough) in complete.into_iter().zip(enough) {
        assert!(complete * 100 >= outputs * enough, "only {complete} of {outputs} outputs are known");
    }
}

/// Unpacks the conformance suite, once.
fn conformance_suite() -> Option<PathBuf> {
    let folder = support::test_data("conformance")?;
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let done = target.join("unpacked");
    if !done.exists() {
        std::fs::create_dir_all(&target).expect("the folder for tests is writable");
        let archive = support::files_below(&folder, "gz").into_iter().next().expect("an archive");
        let status = Command::new("tar").arg("xzf").arg(&archive).arg("-C").arg(&target).status();
        assert!(status.expect("tar runs").success(), "the archive does not unpack");
        std::fs::write(&done, "").expect("the folder for tests is writable");
    }
    Some(target)
}

#[test]
fn claims_hold_on_the_conformance_suite() {
    let Some(folder) = conformance_suite() else { return };
    check_all(&Case::all_below(&folder), [85, 96, 65]);
}

#[test]
fn claims_hold_on_real_models() {
    let Some(folder) = support::test_data("models") else { return };
    check_all(&Case::all_below(&folder), [85, 95, 50]);
}

#[test]
fn claims_hold_on_the_corpora() {
    let Some(folder) = support::test_data("corpora") else { return };
    check_all(&Case::all_below(&folder), [90, 98, 70]);
}

/// Checks every node of a graph and of the bodies in it against its schema.
fn check_nodes(path: &Path, model: &Model, graph: &Graph, failures: &mut Vec<String>) {
    for id in graph.model_order() {
        let node = graph.node(id);
        let types = |values: &[Option<ValueId>]| -> Vec<Option<Type>> {
            values.iter().map(|value| value.and_then(|v| graph.value(v).ty.clone())).collect()
        };
        let (inputs, outputs) = (types(node.inputs()), types(node.outputs()));
        let inputs: Vec<_> = inputs.iter().map(Option::as_ref).collect();
        let outputs: Vec<_> = outputs.iter().map(Option::as_ref).collect();
        let is_local = model.functions.keys().any(|f| f.domain == node.op.domain && f.name == node.op.name);
        if !is_local && let Err(error) = schema::check(node, &inputs, &outputs) {
            failures.push(format!("{}: {}: {error}", path.display(), node.label));
        }
        for (_, body) in graph.bodies(id) {
            check_nodes(path, model, body, failures);
        }
    }
}

/// Models whose writers erred: a misspelt attribute, a type that the version does not have, no condition.
const AGAINST_THE_STANDARD: [&str; 5] = [
    "fusion__attention_mask_no_cast",
    "fusion__skip_layer_norm_no_beta",
    "fusion__skip_layer_norm_no_beta_with_cast",
    "icm-31000000518483",
    "squeezenet_customvision_legacy",
];

#[test]
fn nodes_of_valid_models_agree_with_their_schemas() {
    let folders = [conformance_suite(), support::test_data("models"), support::test_data("corpora")];
    let mut failures = Vec::new();
    for case in folders.iter().flatten().flat_map(|folder| Case::all_below(folder)) {
        if AGAINST_THE_STANDARD.iter().any(|name| case.path.components().any(|c| c.as_os_str() == *name)) {
            continue;
        }
        let mut model = case.model.clone();
        if infer(&mut model, &InferOptions::default()).is_ok() {
            check_nodes(&case.path, &model, &model.graph, &mut failures);
        }
    }
    for failure in &failures {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} nodes are refused", failures.len());
}

#[test]
fn sequences_are_checked_item_by_item() {
    let tensor =
        |n: usize| Datum::Tensor(byoc_graph::Tensor::from_vec(&[n], vec![0f32; n]).expect("a vector"));
    let sequence = Datum::Sequence { element: None, items: vec![tensor(2), tensor(3)] };
    let of = |dim: Dim| Type::Sequence(Some(Arc::new(Type::tensor(DType::F32, [dim]))));
    assert_eq!(conforms(&of(Dim::Unknown), &sequence, &BTreeMap::new()), Ok(false));
    assert!(conforms(&of(Dim::Static(2)), &sequence, &BTreeMap::new()).is_err());
}
