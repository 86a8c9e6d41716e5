//! Shapes: settled where an operator's rule knows what it needs, and carried along where operators keep them.

use std::sync::Arc;

use byoc_graph::{DType, Tensor};

use super::attributes::settle_free;
use super::choices::Chooser;
use super::classes::Classes;
use super::draft::{Draft, Node, Source, Unmade, ValueAt};
use super::words::Words;
use super::{build, rules};

/// Elements of one value.
const MOST_ELEMENTS: usize = 1 << 15;

/// Operators whose first output has the shape of their first input, beside element-wise ones with one operand.
const KEEP_SHAPE: [&str; 21] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "Clip",
    "Softmax",
    "LogSoftmax",
    "Hardmax",
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "BatchNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "LRN",
    "Dropout",
    "PRelu",
    "CumSum",
    "Trilu",
    "LpNormalization",
    "MeanVarianceNormalization",
    "QLinearLeakyRelu",
    "QLinearSigmoid",
];

pub struct Shaper<'d, 'c, 'r> {
    pub draft: &'d mut Draft,
    pub chooser: &'c mut Chooser<'r>,
    pub words: &'d Words,
    classes: Classes,
}

/// Settles shapes, attributes that go with them, and contents of constants that say a shape.
pub fn settle(draft: &mut Draft, words: &Words, chooser: &mut Chooser<'_>) -> Result<(), Unmade> {
    let mut classes = Classes::new(draft.values.len());
    for node in draft.nodes.iter().filter(|n| keeps_shape(n)) {
        if let Some(Some(first)) = node.inputs.first() {
            classes.join(*first, node.outputs[0]);
        }
    }
    let mut shaper = Shaper { draft, chooser, words, classes };
    let nodes = 0..shaper.draft.nodes.len();
    let (keeping, shaping): (Vec<usize>, Vec<usize>) =
        nodes.partition(|&n| keeps_shape(&shaper.draft.nodes[n]));
    for node in shaping {
        shaper.free(node);
        rules::arrange(&mut shaper, node).ok_or(Unmade::Clash)?;
        shaper.follow(node)?;
    }
    for node in keeping {
        shaper.free(node);
        let value = shaper.draft.nodes[node].inputs[0].ok_or(Unmade::Clash)?;
        if shaper.dims(value).is_none() {
            let name = shaper.draft.values[value].name.clone();
            let dims = shaper.image(&name);
            shaper.set(value, dims).ok_or(Unmade::Clash)?;
        }
        rules::arrange_beside(&mut shaper, node).ok_or(Unmade::Clash)?;
    }
    for value in 0..shaper.draft.values.len() {
        let dims = shaper.dims(value);
        shaper.draft.values[value].dims = dims;
    }
    Ok(())
}

fn keeps_shape(node: &Node) -> bool {
    let operands = node.inputs.iter().flatten().count();
    node.is(&KEEP_SHAPE) || (operands == 1 && node.schema.is_elementwise())
}

impl Shaper<'_, '_, '_> {
    fn free(&mut self, node: usize) {
        let output = self.draft.values[self.draft.nodes[node].outputs[0]].name.clone();
        settle_free(&mut self.draft.nodes[node], &output, self.words, self.chooser);
    }

    pub fn node(&self, node: usize) -> &Node {
        &self.draft.nodes[node]
    }

    pub fn input(&self, node: usize, slot: usize) -> Option<ValueAt> {
        self.draft.nodes[node].inputs.get(slot).copied().flatten()
    }

    pub fn dims(&self, value: ValueAt) -> Option<Vec<usize>> {
        self.draft.values[self.classes.of(value)].dims.clone()
    }

    /// Gives a value its shape; `None` where it has another one or too large a one.
    pub fn set(&mut self, value: ValueAt, dims: Vec<usize>) -> Option<()> {
        let count = byoc_graph::element_count(&dims).filter(|n| *n <= MOST_ELEMENTS)?;
        let known = &mut self.draft.values[self.classes.of(value)].dims;
        match known {
            Some(known) => (*known == dims).then_some(()),
            None if count > 0 => {
                *known = Some(dims);
                Some(())
            }
            None => None,
        }
    }

    /// Gives a value its shape where it has none yet.
    pub fn suggest(&mut self, value: ValueAt, dims: Vec<usize>) -> Option<()> {
        if self.dims(value).is_some() { Some(()) } else { self.set(value, dims) }
    }

    /// Settles what whole numbers a constant holds; of a value that is none, the shape alone.
    pub fn numbers(&mut self, value: ValueAt, dims: Vec<usize>, content: &[i64]) -> Option<()> {
        self.set(value, dims.clone())?;
        let (source, dtype) = (self.draft.values[value].source, self.draft.values[value].dtype?);
        if source == Source::Constant {
            self.draft.values[value].content = Some(Arc::new(whole_numbers(dtype, &dims, content)?));
        }
        Some(())
    }

    /// The size of a dimension.
    pub fn size(&mut self, choice: &str) -> usize {
        self.chooser.of(choice, &self.words.sizes).copied().unwrap_or(1)
    }

    pub fn pick<T: Clone>(&mut self, choice: &str, candidates: &[T]) -> Option<T> {
        self.chooser.of(choice, candidates).cloned()
    }

    /// A rank, `least` or more: a usual one, or one that clauses speak of.
    pub fn rank(&mut self, name: &str, usual: &[usize], least: usize) -> Option<usize> {
        let ranks = self.words.ranks(usual, least);
        self.pick(&format!("{name}.rank"), &ranks)
    }

    /// A shape of any rank, that of an image in the first place.
    pub fn image(&mut self, name: &str) -> Vec<usize> {
        let rank = self.rank(name, &[2, 4, 3, 1, 5], 0).unwrap_or(2);
        (0..rank).map(|axis| self.size(&format!("{name}.dim{axis}"))).collect()
    }

    /// Shapes of what a node makes, by inference.
    fn follow(&mut self, node: usize) -> Result<(), Unmade> {
        for value in self.draft.nodes[node].inputs.iter().flatten().copied().collect::<Vec<_>>() {
            self.draft.values[value].dims = self.dims(value);
        }
        let types = build::infer_node(self.draft, node).ok_or(Unmade::Clash)?;
        for (output, ty) in self.draft.nodes[node].outputs.clone().into_iter().zip(types) {
            // What only running tells has no shape here.
            if let Some(dims) = ty.and_then(|t| t.as_tensor()?.static_dims()) {
                self.set(output, dims).ok_or(Unmade::Clash)?;
            }
        }
        Ok(())
    }
}

/// A tensor of whole numbers in one of the types that shapes and axes are told in.
pub fn whole_numbers(dtype: DType, dims: &[usize], content: &[i64]) -> Option<Tensor> {
    let made = match dtype {
        DType::I64 => Tensor::from_vec(dims, content.to_vec()),
        DType::I32 => Tensor::from_vec(dims, content.iter().map(|n| *n as i32).collect()),
        DType::F32 => Tensor::from_vec(dims, content.iter().map(|n| *n as f32).collect()),
        _ => return None,
    };
    made.ok()
}
