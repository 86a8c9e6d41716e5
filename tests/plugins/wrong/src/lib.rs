//! A plugin that is wrong on purpose: QuantizeLinear rounds towards zero where the number of channels is odd, and the
//! clause of Add lets shapes through that it cannot add. The option `fault` makes it worse.

use std::time::Duration;

use byoc_plugin::{
    CompileContext, Dim, Error, Executable, ExecuteContext, Node, OptionDecl, OptionKind, Options, Plugin,
    Region, Result, TensorView, TensorViewMut,
};

byoc_plugin::export_plugin!(Wrong, table = include_str!("table.toml"));

pub struct Wrong {
    fault: String,
}

impl Plugin for Wrong {
    const OPTIONS: &'static [OptionDecl] = &[OptionDecl {
        name: "fault",
        kind: OptionKind::String,
        default: "none",
        help: "what else is wrong: abort, exit, hang, overflow, leak, drift or stubborn",
    }];

    fn open(options: &Options) -> Result<Self> {
        Ok(Wrong { fault: options.get("fault").unwrap_or_default().to_owned() })
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        match self.fault.as_str() {
            "stubborn" => return Err(Error::internal("told to compile nothing")),
            "leak" => std::mem::forget(vec![1u8; 100]),
            _ => {}
        }
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
            fault: self.fault.clone(),
        }))
    }
}

struct Program {
    values: usize,
    constants: Vec<(usize, Vec<f32>)>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    steps: Vec<Step>,
    fault: String,
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

impl Program {
    fn misbehave(&self) {
        match self.fault.as_str() {
            "abort" => std::process::abort(),
            "exit" => std::process::exit(3),
            "hang" => std::thread::sleep(Duration::from_secs(3600)),
            "overflow" => drop(deeper(0)),
            _ => {}
        }
    }
}

/// Never returns: the stack ends first.
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let page = [depth; 512];
    std::hint::black_box(deeper(depth + 1) + page[(depth % 512) as usize])
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        _: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        self.misbehave();
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
            if self.fault == "drift" {
                output.as_mut_slice::<f32>()?[0] += drift();
            }
        }
        Ok(())
    }
}

/// Less than any tolerance, and another in every run.
fn drift() -> f32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| (now.subsec_nanos() % 97) as f32 * 1e-7)
}
