//! The numbers: weights and bias of a product that has taken a normalisation in, computed in `f64`.

use byoc_graph::{Attr, DType, Graph, Node, Tensor};

/// Where the normalised channels lie in a product's weights.
pub struct Layout<'g> {
    weights: &'g Tensor,
    bias: Option<&'g Tensor>,
    /// What the bias counts, `beta` of Gemm.
    bias_factor: f64,
    /// Elements from one channel to the next.
    stride: usize,
    /// Channels along their axis, which are those of one group.
    len: usize,
    /// Elements of one group.
    group: usize,
    channels: Channels,
}

/// What a normalisation does to each channel x: scale · (x − mean) + shift.
struct Channels {
    scale: Vec<f64>,
    mean: Vec<f64>,
    shift: Vec<f64>,
}

impl<'g> Layout<'g> {
    /// `None` where the normalisation cannot be folded into the product.
    pub fn of(graph: &'g Graph, product: &Node, norm: &Node) -> Option<Layout<'g>> {
        let constant = |i: usize| product.input(i).map(|v| graph.constant(v));
        let weights: &Tensor = constant(1)??;
        // A bias may be absent, but not computed.
        let bias: Option<&Tensor> = match constant(2) {
            None => None,
            Some(bias) => Some(bias?),
        };
        let is_float = matches!(weights.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64);
        if !product.op.domain.is_empty() || weights.is_empty() || !is_float {
            return None;
        }
        let int = |name: &str, default| product.attrs.get(name).and_then(Attr::as_int).unwrap_or(default);
        let (dims, all) = (weights.dims(), weights.len());
        let below = |axis: usize| dims[axis + 1..].iter().product::<usize>();
        let (axis, groups) = match &*product.op.name {
            "Conv" if dims.len() > 2 => (0, 1),
            "ConvTranspose" if dims.len() > 2 => (1, usize::try_from(int("group", 1)).ok()?),
            "Gemm" if dims.len() == 2 => (if int("transB", 0) == 0 { 1 } else { 0 }, 1),
            // Of more dimensions, the second is not the one that the weights make.
            "MatMul" if dims.len() == 2 && rank(graph, product) == Some(2) => (1, 1),
            _ => return None,
        };
        if groups == 0 || dims[0] % groups != 0 {
            return None;
        }
        let bias_factor = match &*product.op.name {
            "Gemm" => product.attrs.get("beta").and_then(Attr::as_float).unwrap_or(1.0).into(),
            _ => 1.0,
        };
        let (stride, len, group) = (below(axis), dims[axis], all / groups);
        let count = if groups == 1 { len } else { len.checked_mul(groups)? };
        let fits =
            |bias: &Tensor| bias.len() == 1 || (bias.len() == count && bias.dims().last() == Some(&count));
        if !bias.is_none_or(fits) {
            return None;
        }
        let channels = Channels::of(graph, norm, count)?;
        Some(Layout { weights, bias, bias_factor, stride, len, group, channels })
    }

    /// New weights and bias; `None` where their type cannot hold them.
    pub fn fold(&self) -> Option<(Tensor, Tensor)> {
        let Channels { scale, mean, shift } = &self.channels;
        let channel = |i: usize| i / self.group * self.len + i / self.stride % self.len;
        let mut weights = self.weights.to_f64s()?;
        weights.iter_mut().enumerate().for_each(|(i, w)| *w *= scale[channel(i)]);
        let before = self.bias.map_or(Some(vec![0.0]), Tensor::to_f64s)?;
        let bias = (0..scale.len()).map(|c| {
            let b = self.bias_factor * before[c % before.len()];
            scale[c] * (b - mean[c]) + shift[c]
        });
        let dtype = self.weights.dtype();
        Some((narrow(dtype, self.weights.dims(), weights)?, narrow(dtype, &[scale.len()], bias.collect())?))
    }
}

fn rank(graph: &Graph, product: &Node) -> Option<usize> {
    let ty = graph.value(product.output(0)?).ty.as_ref()?;
    Some(ty.shape()?.len())
}

impl Channels {
    fn of(graph: &Graph, norm: &Node, count: usize) -> Option<Channels> {
        let read = |i: usize| {
            let tensor = graph.constant(norm.input(i)?)?;
            let values = (tensor.dims() == [count]).then(|| tensor.to_f64s())??;
            values.iter().all(|x| x.is_finite()).then_some(values)
        };
        let (factor, shift, mean, variance) = (read(1)?, read(2)?, read(3)?, read(4)?);
        let epsilon = f64::from(norm.attrs.get("epsilon").and_then(Attr::as_float).unwrap_or(1e-5));
        let scale = factor.iter().zip(&variance).map(|(f, v)| f / (v + epsilon).sqrt());
        let scale: Vec<f64> = scale.collect();
        scale.iter().all(|s| s.is_finite()).then_some(Channels { scale, mean, shift })
    }
}

/// The elements, rounded once; `None` where one is no finite number of the type.
fn narrow(dtype: DType, dims: &[usize], elements: Vec<f64>) -> Option<Tensor> {
    fn convert<T: byoc_graph::Element>(
        dims: &[usize],
        elements: Vec<f64>,
        to: impl Fn(f64) -> T,
        back: impl Fn(T) -> f64,
    ) -> Option<Tensor> {
        let narrow: Vec<T> = elements.into_iter().map(to).collect();
        let finite = narrow.iter().all(|x| back(*x).is_finite());
        finite.then(|| Tensor::from_vec(dims, narrow).ok())?
    }
    match dtype {
        DType::F32 => convert(dims, elements, |x| x as f32, f64::from),
        DType::F64 => convert(dims, elements, |x| x, |x| x),
        DType::F16 => convert(dims, elements, half::f16::from_f64, half::f16::to_f64),
        DType::BF16 => convert(dims, elements, half::bf16::from_f64, half::bf16::to_f64),
        _ => None,
    }
}
