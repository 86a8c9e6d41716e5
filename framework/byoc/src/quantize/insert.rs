//! QuantizeLinear and DequantizeLinear in the graph.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use byoc_graph::{Attr, DType, Graph, GraphError, Model, NodeId, NodeSpec, Slot, Tensor, Type, ValueId};
use indexmap::IndexMap;

use super::QuantizeOptions;
use super::correct::Corrections;
use super::range::Params;
use super::units::{Unit, Weights, tensors};
use super::weights::Stored;
use crate::Error;

/// What became of the float model.
#[derive(Debug, Default)]
pub struct Plan {
    /// Each quantised tensor, and the name under which it is read back.
    pub tensors: Vec<(ValueId, String)>,
    /// The nodes that do the work of each unit, by what they are called in the quantised model.
    pub cores: IndexMap<NodeId, String>,
}

/// The model with the tensors of all units stored and read back.
pub fn insert(
    model: &Model,
    units: &[Unit],
    params: &IndexMap<ValueId, Params>,
    biases: &Corrections,
    options: &QuantizeOptions,
) -> Result<(Model, Plan), Error> {
    let mut model = model.clone();
    let opset = model.opset("").unwrap_or(byoc_graph::raise::VERSION);
    let mut writer = Writer { graph: &mut model.graph, opset };
    let mut weights = HashMap::new();
    for unit in units {
        if let Some(its) = unit.weights {
            let bias = biases.get(&unit.core).map(Vec::as_slice);
            writer.weights(unit, its, params[&unit.inputs[0]].scale, bias, options, &mut weights)?;
        }
    }
    let made: HashSet<ValueId> = units.iter().map(|unit| unit.output).collect();
    let mut plan = Plan::default();
    for value in tensors(units) {
        let read = writer.tensor(value, params[&value], made.contains(&value), units)?;
        plan.tensors.push((value, read));
    }
    let graph = &mut model.graph;
    drop_unused(graph);
    graph.assign_labels();
    let label = |core: NodeId| (core, graph.node(core).label.to_string());
    plan.cores = units.iter().map(|unit| label(unit.core)).collect();
    // The first version in which all of opset 13 can be written.
    model.ir_version = model.ir_version.max(7);
    model.producer_name = "byoc".into();
    model.producer_version = env!("CARGO_PKG_VERSION").into();
    Ok((model, plan))
}

/// Takes out the float weights that nobody reads any more.
fn drop_unused(graph: &mut Graph) {
    let unused = |(id, value): (ValueId, &byoc_graph::Value)| {
        (value.uses().is_empty() && graph.is_constant(id) && !graph.is_output(id)).then_some(id)
    };
    let unused: Vec<ValueId> = graph.values().filter_map(unused).collect();
    unused.into_iter().for_each(|id| graph.remove_value(id));
}

/// Adds nodes to a graph.
pub struct Writer<'a> {
    pub graph: &'a mut Graph,
    pub opset: i64,
}

/// What is read back of weights, by the weights and the bits of their scales, which a very large bias may raise.
type Written = HashMap<(ValueId, Vec<u32>), ValueId>;

impl Writer<'_> {
    /// Stores a value, and gives what is read back of it, which nobody uses yet.
    pub fn quantised(&mut self, value: ValueId, params: Params, suffix: &str) -> Result<ValueId, Error> {
        let base = format!("{}_{suffix}", self.graph.value(value).name);
        let ty = self.graph.value(value).ty.clone();
        let codes = params.activations.tensor(params.zero_point);
        let stored = ty.as_ref().and_then(Type::as_tensor).map(|t| {
            Type::Tensor(byoc_graph::TensorType { dtype: Some(codes.dtype()), shape: t.shape.clone() })
        });
        let position =
            self.graph.value(value).producer().map_or(0, |(node, _)| self.graph.node(node).position);
        let scale = self.constant(format!("{base}_scale"), Tensor::scalar(params.scale))?;
        let zero = self.constant(format!("{base}_zero_point"), codes)?;
        let (_, codes) = self.node("QuantizeLinear", &base, [value, scale, zero], stored, None, position)?;
        let (_, read) = self.node("DequantizeLinear", &base, [codes, scale, zero], ty, None, position)?;
        Ok(read)
    }

    /// Stores a tensor and has it read from there: by all, where a unit made it, else by units only. Gives the name
    /// under which it is read.
    fn tensor(
        &mut self,
        value: ValueId,
        params: Params,
        made: bool,
        units: &[Unit],
    ) -> Result<String, Error> {
        let is_output = self.graph.is_output(value) && made;
        let uses: Vec<(NodeId, usize)> = if made {
            let uses = self.graph.value(value).uses().iter();
            uses.filter_map(|u| match u.slot {
                Slot::Input(slot) => Some((u.node, slot as usize)),
                Slot::Capture(_) => None,
            })
            .collect()
        } else {
            let reads = units.iter().flat_map(|unit| unit.reads.iter().copied());
            reads.filter(|(node, slot)| self.graph.node(*node).input(*slot) == Some(value)).collect()
        };
        let read = self.quantised(value, params, "q")?;
        for (node, slot) in uses {
            self.graph.set_input(node, slot, Some(read));
        }
        if is_output {
            let name = self.graph.value(value).name.clone();
            let outputs = self.graph.outputs().iter().map(|o| if *o == value { read } else { *o }).collect();
            self.graph.set_outputs(outputs);
            let free = self.graph.fresh_name(&format!("{name}_float"));
            self.graph.rename(value, free).map_err(failed)?;
            self.graph.rename(read, name).map_err(failed)?;
        }
        Ok(self.graph.value(read).name.to_string())
    }

    /// Stores the weights and the bias of a product.
    fn weights(
        &mut self,
        unit: &Unit,
        weights: Weights,
        input: f32,
        correction: Option<&[f64]>,
        options: &QuantizeOptions,
        written: &mut Written,
    ) -> Result<(), Error> {
        let axis = weights.axis.filter(|_| !options.per_tensor);
        let tensor = self.graph.constant(weights.value).expect("weights are constant").clone();
        let bias = weights.bias.and_then(|(node, slot)| {
            let there = self.graph.node(node).input(slot).map(|v| self.graph.constant(v));
            let count = weights.axis.map(|axis| tensor.dims()[axis]).or(correction.map(<[f64]>::len))?;
            let mut bias = match there {
                // One that is computed, or is not a row of channels, stays as it is.
                Some(None) => return None,
                Some(Some(tensor)) => tensor.to_f64s().filter(|b| b.len() == count)?,
                None => vec![0.0; correction.map_or(0, <[f64]>::len)],
            };
            bias.iter_mut().zip(correction.unwrap_or_default()).for_each(|(b, c)| *b -= c);
            (!bias.is_empty()).then_some((node, slot, bias))
        });
        let stored = Stored::of(&tensor, axis, bias.as_ref().map(|(_, _, b)| b.as_slice()), input)?;
        let key = (weights.value, stored.scales.iter().map(|scale| scale.to_bits()).collect());
        let read = match written.get(&key) {
            Some(read) => *read,
            None => {
                let base = self.graph.value(weights.value).name.to_string();
                let zeros = self.like_scales(vec![0i8; stored.scales.len()], axis)?;
                let scales = self.like_scales(stored.scales.clone(), axis)?;
                let read = self.stored(unit, &base, stored.tensor()?, scales, Some(zeros), axis)?;
                written.insert(key, read);
                read
            }
        };
        self.graph.set_input(unit.core, 1, Some(read));
        if let Some((node, slot, bias)) = bias {
            let base = format!("{}_bias", self.graph.node(unit.core).label);
            let (codes, scales) = stored.bias(&bias, input);
            let codes = Tensor::from_vec(&[codes.len()], codes)?;
            let scales = self.like_scales(scales, axis)?;
            let read = self.stored(unit, &base, codes, scales, None, axis.map(|_| 0))?;
            self.graph.set_input(node, slot, Some(read));
        }
        Ok(())
    }

    /// A scalar, or a list where there is an axis.
    fn like_scales<T: byoc_graph::Element>(
        &self,
        values: Vec<T>,
        axis: Option<usize>,
    ) -> Result<Tensor, Error> {
        Ok(match axis {
            Some(_) => Tensor::from_vec(&[values.len()], values)?,
            None => Tensor::from_vec(&[], values)?,
        })
    }

    /// A stored constant that is read back.
    fn stored(
        &mut self,
        unit: &Unit,
        base: &str,
        codes: Tensor,
        scales: Tensor,
        zeros: Option<Tensor>,
        axis: Option<usize>,
    ) -> Result<ValueId, Error> {
        let dims: Vec<usize> = codes.dims().to_vec();
        let base = format!("{base}_q");
        let codes = self.constant(format!("{base}_codes"), codes)?;
        let mut inputs = vec![codes, self.constant(format!("{base}_scale"), scales)?];
        if let Some(zeros) = zeros {
            inputs.push(self.constant(format!("{base}_zero_point"), zeros)?);
        }
        let ty = Type::Tensor(byoc_graph::TensorType::of_static(DType::F32, &dims));
        let position = self.graph.node(unit.core).position;
        Ok(self.node("DequantizeLinear", &base, inputs, Some(ty), axis, position)?.1)
    }

    fn constant(&mut self, name: String, tensor: Tensor) -> Result<ValueId, Error> {
        let name = self.graph.fresh_name(&name);
        self.graph.add_constant(name, Arc::new(tensor)).map_err(failed)
    }

    fn node(
        &mut self,
        op: &str,
        base: &str,
        inputs: impl IntoIterator<Item = ValueId>,
        ty: Option<Type>,
        axis: Option<usize>,
        position: u32,
    ) -> Result<(NodeId, ValueId), Error> {
        let name: Arc<str> = self.graph.fresh_name(&format!("{base}_{op}")).into();
        let output = self.graph.add_value(name.clone(), ty).map_err(failed)?;
        let axis = axis.map(|axis| ("axis".into(), Attr::Int(axis as i64)));
        let node = self.graph.add_node(NodeSpec {
            name,
            op: op.into(),
            opset: self.opset,
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: vec![Some(output)],
            attrs: axis.into_iter().collect(),
            position,
            ..NodeSpec::default()
        });
        Ok((node.map_err(failed)?, output))
    }
}

fn failed(error: GraphError) -> Error {
    Error::Other(error.to_string())
}
