//! Every element type that an operator's schema allows runs: tests of the ONNX suite that are one node are run again
//! with their inputs cast to each type that a constraint allows, and with each type that an attribute may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use byoc::{Datum, Session, Tensor};
use byoc_graph::schema::{self, OpSchema};
use byoc_graph::{Attr, DType, Model, Node, NodeId, NodeSpec, Type, ValueId, onnx};
use byoc_tests::onnx_suite;

/// Operators that the suite has tests of which cannot be cast, with reasons.
const SKIPPED: &[(&str, &str)] = &[
    ("If", "its branches have types of their own"),
    ("Loop", "its body has types of its own"),
    ("Scan", "its body has types of its own"),
    ("SequenceMap", "its body has types of its own"),
    ("ImageDecoder", "its input is a file"),
    ("BitCast", "both types have to have as many bits"),
    ("LabelEncoder", "an attribute holds keys of one type"),
];

/// What does not run, as it is told, with reasons.
const EXCEPTIONS: &[(&str, &str)] = &[
    (r"^Col2Im-\d+ T = (string|bool)", "adds up what overlaps; of these there are no sums"),
    (r"^(GridSample-\d+ T1|Resize-\d+ T1) = string", "strings have no means"),
    (r"^Unique-\d+ T = complex", "complex numbers have no order"),
];

/// Attributes that tell the type of the first result.
const ASKING: [&str; 3] = ["dtype", "to", "output_dtype"];

/// A test that is one node.
struct Single {
    folder: PathBuf,
    model: Model,
    node: NodeId,
    schema: &'static OpSchema,
}

impl Single {
    fn load(folder: PathBuf) -> Option<Single> {
        let model = onnx::load(folder.join("model.onnx")).expect("models of the suite can be read");
        let mut nodes = model.graph.node_ids();
        let (node, None) = (nodes.next()?, nodes.next()) else { return None };
        let Node { op, opset, .. } = model.graph.node(node);
        let schema = schema::lookup(&op.domain, &op.name, *opset)?;
        let skipped = SKIPPED.iter().any(|(name, _)| *name == schema.name);
        drop(nodes);
        (!skipped).then_some(Single { folder, model, node, schema })
    }

    fn value_dtype(&self, value: ValueId) -> Option<DType> {
        match self.model.graph.value(value).ty.as_ref()? {
            Type::Tensor(tensor) => tensor.dtype,
            _ => None,
        }
    }

    /// The inputs of a constraint, all of which are tensors.
    fn bound(&self, constraint: &str) -> Vec<(usize, ValueId, DType)> {
        let formals = self.schema.inputs;
        let inputs = self.model.graph.node(self.node).inputs().iter().enumerate();
        let of = |i: usize| formals.get(i.min(formals.len().saturating_sub(1)));
        let bound = inputs.filter(|(i, _)| of(*i).is_some_and(|formal| formal.type_str == constraint));
        bound.filter_map(|(i, value)| Some((i, (*value)?, self.value_dtype((*value)?)?))).collect()
    }

    fn inputs(&self) -> Vec<(String, Datum)> {
        let graph = &self.model.graph;
        let given = graph.inputs().iter().filter(|value| !graph.is_constant(**value));
        let read = |(i, value): (usize, &ValueId)| {
            let value = graph.value(*value);
            let path = self.folder.join(format!("test_data_set_0/input_{i}.pb"));
            (value.name.to_string(), onnx::read_datum(path, value.ty.as_ref()).expect("data can be read"))
        };
        given.enumerate().map(read).collect()
    }

    /// The model with what belongs to a constraint of another element type, and its inputs.
    fn retyped(&self, constraint: &str, dtype: DType) -> (Model, Vec<(String, Datum)>) {
        let (mut model, mut inputs) = (self.model.clone(), self.inputs());
        for (i, value, old) in self.bound(constraint) {
            if old == dtype {
                continue;
            }
            let graph = &mut model.graph;
            let name = graph.value(value).name.clone();
            if let Some((_, datum)) = inputs.iter_mut().find(|(of, _)| **of == *name)
                && (dtype.is_complex() || old == DType::Str || old.is_complex())
            {
                // What Cast does not take is made here.
                let tensor = datum.as_tensor().expect("a tensor");
                *datum = counted(tensor, dtype).into();
                let ty = datum.as_tensor().expect("a tensor").ty();
                graph.value_mut(value).ty = Some(Type::Tensor(ty));
                continue;
            }
            let cast = graph.add_value(graph.fresh_name("cast"), None).expect("a fresh name");
            let spec = NodeSpec {
                op: "Cast".into(),
                opset: 28,
                inputs: vec![Some(value)],
                outputs: vec![Some(cast)],
                attrs: [("to".into(), Attr::Int(i64::from(dtype.onnx())))].into_iter().collect(),
                ..NodeSpec::default()
            };
            graph.add_node(spec).expect("a new node");
            graph.set_input(self.node, i, Some(cast));
        }
        (untyped(model), inputs)
    }

    /// The model whose attribute asks for an element type.
    fn asking(&self, attribute: &str, dtype: DType) -> (Model, Vec<(String, Datum)>) {
        let mut model = self.model.clone();
        let attrs = &mut model.graph.node_mut(self.node).attrs;
        attrs.insert(attribute.into(), Attr::Int(i64::from(dtype.onnx())));
        (untyped(model), self.inputs())
    }
}

/// What the results are follows.
fn untyped(mut model: Model) -> Model {
    for output in model.graph.outputs().to_vec() {
        model.graph.value_mut(output).ty = None;
    }
    model
}

/// A tensor of a size whose elements are 0 and 1 in turn, of types that no Cast leads to or from.
fn counted(like: &Tensor, dtype: DType) -> Tensor {
    let numbers = || (0..like.len()).map(|i| (i % 2) as f64);
    let bytes: Vec<u8> = match dtype {
        DType::C64 => numbers().flat_map(|x| [x as f32, 0.0]).flat_map(f32::to_le_bytes).collect(),
        DType::C128 => numbers().flat_map(|x| [x, 0.0]).flat_map(f64::to_le_bytes).collect(),
        DType::F32 => numbers().flat_map(|x| (x as f32).to_le_bytes()).collect(),
        DType::F64 => numbers().flat_map(f64::to_le_bytes).collect(),
        DType::Str => {
            let words = numbers().map(|x| x.to_string().into()).collect();
            return Tensor::from_strings(like.dims(), words).expect("as many");
        }
        // All bits zero is zero in every other type.
        _ => vec![0; dtype.byte_len(like.len()).expect("small")],
    };
    Tensor::from_bytes(dtype, like.dims(), bytes.into()).expect("as many")
}

fn attempt((model, inputs): (Model, Vec<(String, Datum)>)) -> Result<(), String> {
    let session = Session::builder("").model(model).threads(1).check_types(true).build();
    let session = session.map_err(|e| e.to_string())?;
    session.run(&inputs).map(drop).map_err(|e| e.to_string())
}

fn types_of(tensors: u64) -> impl Iterator<Item = DType> {
    (0..64).filter(move |code| tensors & (1 << code) != 0).filter_map(DType::from_onnx)
}

fn singles(suite: &Path) -> Vec<Single> {
    let entries = std::fs::read_dir(suite.join("node")).expect("the suite's tests of nodes");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    folders.into_iter().filter_map(Single::load).collect()
}

#[test]
fn every_type_that_a_schema_allows_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(suite) = onnx_suite(folder.path()) else { return };
    // For each operator and constraint the test whose inputs are cast to more types than those of others.
    let mut chosen: BTreeMap<(&str, &str, &str), Single> = BTreeMap::new();
    let mut asked: BTreeMap<(&str, &str, &str), Single> = BTreeMap::new();
    let rank = |single: &Single, constraint: &str| {
        let bound = single.bound(constraint);
        let all = |wanted: &dyn Fn(DType) -> bool| bound.iter().all(|(_, _, dtype)| wanted(*dtype));
        usize::from(all(&|d| d == DType::F32)) * 2 + usize::from(all(&|d| d != DType::Str))
    };
    let mut count = 0;
    for single in singles(&suite) {
        let OpSchema { domain, name, .. } = *single.schema;
        for constraint in single.schema.type_constraints {
            if single.bound(constraint.name).is_empty() {
                continue;
            }
            let key = (domain, name, constraint.name);
            let rank = |single: &Single| (single.schema.since_version, rank(single, constraint.name));
            let better = chosen.get(&key).is_none_or(|best| rank(best) < rank(&single));
            if better {
                let again = Single::load(single.folder.clone()).expect("loaded before");
                chosen.insert(key, again);
            }
        }
        let attribute = ASKING.into_iter().find(|name| single.schema.attribute(name).is_some());
        let result = single.schema.outputs.first().map(|formal| formal.type_str);
        if let (Some(attribute), Some(result)) = (attribute, result)
            && single.bound(result).is_empty()
        {
            asked.insert((domain, name, attribute), single);
        }
    }
    let mut wrong = BTreeSet::new();
    let mut note = |what: String, done: Result<(), String>| {
        count += 1;
        if let Err(error) = done {
            wrong.insert(format!("{what}: {error}"));
        }
    };
    for ((_, name, constraint), single) in &chosen {
        let types = single.schema.constraint(constraint).expect("the schema's own").types.tensors;
        for dtype in types_of(types) {
            let what = format!("{name}-{} {constraint} = {dtype}", single.schema.since_version);
            note(what, attempt(single.retyped(constraint, dtype)));
        }
    }
    for ((_, name, attribute), single) in &asked {
        let result = single.schema.outputs[0].type_str;
        let types = single.schema.constraint(result).map_or(0, |constraint| constraint.types.tensors);
        for dtype in types_of(types) {
            let what = format!("{name}-{} {attribute} = {dtype}", single.schema.since_version);
            note(what, attempt(single.asking(attribute, dtype)));
        }
    }
    println!("{} operators' constraints, {count} types", chosen.len() + asked.len());
    assert!(count > 1800, "only {count} types were tried");
    for (pattern, _) in EXCEPTIONS {
        let excepted = regex::Regex::new(pattern).expect("an expression");
        let before = wrong.len();
        wrong.retain(|what| !excepted.is_match(what));
        assert!(wrong.len() < before, "has to leave the exceptions: {pattern}");
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{} of {count} do not run:\n{}", wrong.len(), wrong.join("\n"));
}
