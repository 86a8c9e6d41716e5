//! A plugin that is wrong on purpose: QuantizeLinear rounds towards zero where the number of channels is odd, and the
//! clause of Add lets shapes through that it cannot add.

use byoc_plugin::{
    CompileContext, Dim, Error, Executable, ExecuteContext, Node, Options, Plugin, Region, Result,
    TensorView, TensorViewMut,
};

byoc_plugin::export_plugin!(Wrong, table = include_str!("table.toml"));

pub struct Wrong;

impl Plugin for Wrong {
    fn open(_: &Options) -> Result<Self> {
        Ok(Wrong)
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let steps = region.nodes.iter().map(|node| Step::new(region, node)).collect::<Result<_>>()?;
        let constants = region.constants.iter().filter_map(|value| {
            let floats = region.value(*value).constant_as::<f32>()?;
            Some((*value, floats.to_vec()))
        });
        Ok(Box::new(Program {
            values: region.values.len(),
            constants: constants.collect(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            steps,
        }))
    }
}

struct Program {
    values: usize,
    constants: Vec<(usize, Vec<f32>)>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    steps: Vec<Step>,
}

struct Step {
    op: Op,
    args: Vec<usize>,
    result: usize,
    elements: usize,
}

enum Op {
    Quantise { zero: f32, truncates: bool },
    Add,
    Relu,
}

impl Step {
    fn new(region: &Region<'_>, node: &Node<'_>) -> Result<Self> {
        let args: Vec<usize> = node.inputs.iter().copied().flatten().collect();
        let result = node.outputs[0].ok_or_else(|| Error::invalid("a node without an output"))?;
        let known = |dim: &Dim| if let Dim::Known(size) = dim { Some(*size) } else { None };
        let dims: Option<Vec<usize>> =
            region.value(result).dims.as_ref().and_then(|dims| dims.iter().map(known).collect());
        let dims: Vec<usize> = dims.ok_or_else(|| Error::unsupported("an open shape"))?;
        let op = match node.op {
            "QuantizeLinear" => {
                let zero = region.value(args[2]).constant_as::<i8>().map_or(0, |zero| zero[0]);
                Op::Quantise { zero: zero.into(), truncates: dims[1] % 2 == 1 }
            }
            "Add" => Op::Add,
            _ => Op::Relu,
        };
        Ok(Step { op, args, result, elements: dims.iter().product() })
    }

    fn compute(&self, values: &[Vec<f32>]) -> Vec<f32> {
        let at = |arg: usize, index: usize| {
            let values = &values[self.args[arg]];
            values[index % values.len()]
        };
        let element = |index: usize| match self.op {
            Op::Quantise { zero, truncates } => {
                let steps = at(0, index) / at(1, 0);
                let whole = if truncates { steps.trunc() } else { steps.round_ties_even() };
                (whole + zero).clamp(-128.0, 127.0)
            }
            Op::Add => at(0, index) + at(1, index),
            Op::Relu => at(0, index).max(0.0),
        };
        (0..self.elements).map(element).collect()
    }
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        _: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let mut values = vec![Vec::new(); self.values];
        for (value, constant) in &self.constants {
            values[*value] = constant.clone();
        }
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = input.as_slice::<f32>()?.to_vec();
        }
        for step in &self.steps {
            values[step.result] = step.compute(&values);
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            let from = &values[*value];
            if let Ok(bytes) = output.as_mut_slice::<i8>() {
                bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from as i8);
                continue;
            }
            output.as_mut_slice::<f32>()?.copy_from_slice(from);
        }
        Ok(())
    }
}
