//! A plugin for tests of policies: Add, Mul and Relu on float32 of one shape, in host memory. The option of an
//! operator's name says how often each of its elements is computed, and with that how slow it is.

use std::hint::black_box;

use byoc_plugin::{
    CompileContext, Error, Executable, ExecuteContext, Node, OptionDecl, OptionKind, Options, Plugin, Region,
    Result, TensorView, TensorViewMut,
};

byoc_plugin::export_plugin!(Paced, table = include_str!("table.toml"));

pub struct Paced;

type Compute = fn(f32, f32) -> f32;

/// By operator: the option that sets its pace, what it computes, and how many inputs it has.
const OPERATORS: [(&str, &str, Compute, usize); 3] = [
    ("Add", "add", |a, b| a + b, 2),
    ("Mul", "mul", |a, b| a * b, 2),
    ("Relu", "relu", |a, _| a.max(0.0), 1),
];

const fn pace(name: &'static str) -> OptionDecl {
    let help = "how often each element is computed";
    OptionDecl { name, kind: OptionKind::Int, default: "1", help }
}

impl Plugin for Paced {
    const OPTIONS: &'static [OptionDecl] = &[pace("add"), pace("mul"), pace("relu")];

    fn open(_: &Options) -> Result<Self> {
        Ok(Paced)
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let steps = region.nodes.iter().map(|node| Step::new(region, node, context));
        let (inputs, outputs) = (region.inputs.clone(), region.outputs.clone());
        let constants = region.constants.clone();
        let steps = steps.collect::<Result<Vec<_>>>()?;
        Ok(Box::new(Program { steps, values: region.values.len(), constants, inputs, outputs }))
    }
}

struct Step {
    compute: Compute,
    args: [usize; 2],
    result: usize,
    times: i64,
}

impl Step {
    fn new(region: &Region<'_>, node: &Node<'_>, context: &CompileContext<'_>) -> Result<Step> {
        let unsupported = |what: &str| Error::unsupported(what.to_owned()).at_node(node.index);
        let operator = OPERATORS.iter().find(|(op, ..)| *op == node.op);
        let &(_, option, compute, arity) = operator.ok_or_else(|| unsupported("this operator"))?;
        let arg = |i: usize| node.inputs.get(i).copied().flatten().ok_or_else(|| unsupported("no input"));
        let args = [arg(0)?, arg(arity - 1)?];
        if region.value(args[0]).dims != region.value(args[1]).dims {
            return Err(unsupported("broadcasting"));
        }
        let result = node.outputs.first().copied().flatten().ok_or_else(|| unsupported("no output"))?;
        Ok(Step { compute, args, result, times: context.options.int(option)? })
    }
}

/// Steps over the region's values, by their indices.
struct Program {
    steps: Vec<Step>,
    values: usize,
    constants: Vec<usize>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.values];
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = input.as_slice::<f32>()?.to_vec();
        }
        for (index, value) in self.constants.iter().enumerate() {
            let bytes = context.constant(index).ok_or_else(|| Error::internal("a constant is gone"))?;
            let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values[*value] = floats.collect();
        }
        for step in &self.steps {
            let [left, right] = step.args.map(|arg| &values[arg]);
            let mut result = vec![0.0; left.len()];
            for _ in 0..step.times {
                for ((result, &left), &right) in result.iter_mut().zip(left).zip(right) {
                    *result = (step.compute)(left, right);
                }
                black_box(&mut result);
            }
            values[step.result] = result;
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            output.as_mut_slice::<f32>()?.copy_from_slice(&values[*value]);
        }
        Ok(())
    }
}
