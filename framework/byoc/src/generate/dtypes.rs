//! Element types: values that an operator's signature ties together get one that all of them allow.

use std::collections::HashMap;

use byoc_graph::{Attr, DType};

use super::choices::Chooser;
use super::classes::Classes;
use super::draft::{Draft, Node, Unmade, ValueAt};
use super::words::Words;

/// Settles the element type of every value.
pub fn settle(draft: &mut Draft, words: &Words, chooser: &mut Chooser<'_>) -> Result<(), Unmade> {
    let mut classes = Classes::new(draft.values.len());
    let mut allowed = vec![u64::MAX; draft.values.len()];
    for node in &draft.nodes {
        let mut bound: HashMap<&str, ValueAt> = HashMap::new();
        let inputs = node.inputs.iter().enumerate().filter_map(|(i, v)| Some(((*v)?, node.schema.input(i)?)));
        let outputs = node.outputs.iter().enumerate().filter_map(|(i, v)| Some((*v, node.schema.output(i)?)));
        for (value, formal) in inputs.chain(outputs) {
            match node.schema.constraint(formal.type_str) {
                Some(constraint) => {
                    allowed[value] &= constraint.types.tensors;
                    if !formal.is_variadic() || formal.homogeneous {
                        classes.join(*bound.entry(formal.type_str).or_insert(value), value);
                    }
                }
                None => allowed[value] &= DType::from_name(formal.type_str).map_or(0, bit),
            }
        }
        if let Some((value, mask)) = implied(node) {
            allowed[value] &= mask;
        }
        for (tensor, scale, zero_point) in triples(node) {
            classes.join(tensor, zero_point);
            allowed[scale] &= bit(DType::F32);
        }
    }
    for value in 0..draft.values.len() {
        let class = classes.of(value);
        let own = allowed[value];
        allowed[class] &= own;
    }
    for value in 0..draft.values.len() {
        let class = classes.of(value);
        if draft.values[class].dtype.is_none() {
            let fitting: Vec<DType> =
                words.dtypes.iter().copied().filter(|t| allowed[class] & bit(*t) != 0).collect();
            let choice = format!("{}.dtype", draft.values[class].name);
            draft.values[class].dtype = Some(*chooser.of(&choice, &fitting).ok_or(Unmade::Clash)?);
        }
        draft.values[value].dtype = draft.values[class].dtype;
    }
    tell(draft);
    Ok(())
}

fn bit(dtype: DType) -> u64 {
    1 << dtype as u8
}

/// What the signature does not say: without a zero point, QuantizeLinear makes uint8.
fn implied(node: &Node) -> Option<(ValueAt, u64)> {
    let plain = node.is(&["QuantizeLinear", "DynamicQuantizeLinear"]) && node.inputs.len() < 3;
    (plain && !node.attrs.contains_key("output_dtype")).then(|| (node.outputs[0], bit(DType::U8)))
}

/// Of QLinearConcat, whose signature says nothing of them: each tensor with its scale and zero point.
fn triples(node: &Node) -> Vec<(ValueAt, ValueAt, ValueAt)> {
    let inputs: Vec<ValueAt> = node.inputs.iter().flatten().copied().collect();
    let is_it = node.is(&["QLinearConcat"]);
    let triples = inputs.get(2..).unwrap_or_default().chunks_exact(3).filter(|_| is_it);
    triples.map(|triple| (triple[0], triple[1], triple[2])).collect()
}

/// Attributes that name an element type.
fn tell(draft: &mut Draft) {
    for node in &mut draft.nodes {
        if node.is(&["Cast"])
            && let Some(dtype) = draft.values[node.outputs[0]].dtype
        {
            node.attrs.entry("to".into()).or_insert(Attr::Int(dtype.onnx().into()));
        }
    }
}
