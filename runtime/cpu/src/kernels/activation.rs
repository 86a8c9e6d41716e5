//! Operators of one input, element by element, in f32.

use byoc_graph::DType;

use crate::fast::Activation;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "activation",
    domain: "",
    ops: &[
        "Relu",
        "Clip",
        "LeakyRelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Elu",
        "Exp",
        "Erf",
        "Gelu",
        "Swish",
    ],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// The activation that a node computes, where its parameters are constant.
pub(crate) fn activation_of(node: &NodeDesc<'_>) -> Option<Activation> {
    let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
    Some(match node.op() {
        "Relu" => Activation::Relu,
        "Clip" => clip(node)?,
        "LeakyRelu" => Activation::LeakyRelu { slope: float("alpha", 0.01) },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid { alpha: float("alpha", 0.2), beta: float("beta", 0.5) },
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        "Elu" => Activation::Elu { alpha: float("alpha", 1.0) },
        "Exp" => Activation::Exp,
        "Erf" => Activation::Erf,
        "Gelu" if node.str("approximate") == Some("tanh") => Activation::GeluTanh,
        "Gelu" => Activation::Gelu,
        "Swish" if float("alpha", 1.0) == 1.0 => Activation::Silu,
        _ => return None,
    })
}

fn clip(node: &NodeDesc<'_>) -> Option<Activation> {
    let bound = |i: usize, attr: &str, default: f32| match node.opset() {
        ..11 => Some(node.float(attr).unwrap_or(default)),
        _ if node.has_input(i) => node.scalar_f32(i),
        _ => Some(default),
    };
    let (low, high) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
    Some(Activation::Clip { low, high })
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Unary { activation: activation_of(node)? }))
}

struct Unary {
    activation: Activation,
}

impl Kernel for Unary {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let held = outputs.holds_input(0);
        let source = if held { &[][..] } else { x.slice::<f32>()? };
        let out = outputs.tensor::<f32>(0, x.dims)?;
        loops::split(ctx.exec, out, &|range, part| match held {
            true => self.activation.apply(ctx.exec.isa, part),
            false => self.activation.map_part(ctx.exec.isa, &source[range], part),
        });
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        // The bounds of Clip.
        input > 0
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
