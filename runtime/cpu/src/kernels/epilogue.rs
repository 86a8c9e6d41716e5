//! What fused nodes do to each result on its way out, as their attributes say it.
//!
//! `com.microsoft.FusedConv` and the operators of the domain `host` name an activation and give its parameters
//! in the attributes `activation` and `activation_params`, `com.microsoft.FusedGemm` in `activation_alpha` and so on.

use crate::fast::Activation;
use crate::kernel::NodeDesc;

/// The activation that a fused node names; `None` where it is not known here.
pub(super) fn activation(node: &NodeDesc<'_>) -> Option<Activation> {
    activation_of(node, "activation")
}

/// The same under another attribute's name.
pub(super) fn activation_of(node: &NodeDesc<'_>, attr: &str) -> Option<Activation> {
    let Some(name) = node.str(attr) else { return Some(Activation::None) };
    let params = node.floats(&format!("{attr}_params")).unwrap_or_default();
    let single = |i: usize| node.float(&format!("{attr}_{}", ["alpha", "beta"][i]));
    let param = |i: usize, default: f32| params.get(i).copied().or_else(|| single(i)).unwrap_or(default);
    Some(match name {
        "" => Activation::None,
        "Relu" => Activation::Relu,
        "Clip" => Activation::Clip { low: param(0, f32::MIN), high: param(1, f32::MAX) },
        "LeakyRelu" => Activation::LeakyRelu { slope: param(0, 0.01) },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid { alpha: param(0, 0.2), beta: param(1, 0.5) },
        "HardSwish" => Activation::HardSwish,
        "Swish" => Activation::Silu,
        "Tanh" => Activation::Tanh,
        "Elu" => Activation::Elu { alpha: param(0, 1.0) },
        "Gelu" => Activation::Gelu,
        "GeluTanh" => Activation::GeluTanh,
        _ => return None,
    })
}
