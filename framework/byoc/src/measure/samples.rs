//! Models that are built for measuring where none are given: common operators with weights that are drawn at random, on
//! images and rows of two sizes: small ones, which caches hold, and such as real models have, which they do not.

use std::fmt::Write;
use std::path::PathBuf;

use byoc_graph::{Model, onnx};

use crate::random::Rng;
use crate::{Error, demo};

const SEED: u64 = 7;

/// The quantised network's name, and the pixels of a side of its images.
const QUANTISED: (&str, [usize; 2]) = ("quantised", [32, 128]);

/// A model in the textual syntax, its weights apart.
struct Layers {
    name: &'static str,
    /// With `N` for the size.
    signature: &'static str,
    /// Smaller first.
    sizes: [usize; 2],
    weights: &'static [(&'static str, &'static [usize])],
    nodes: &'static str,
}

const FLOATS: [Layers; 2] = [
    Layers {
        name: "convolutions",
        signature: "(float[1,3,N,N] x) => (float[1,10] y)",
        sizes: [64, 224],
        weights: &[
            ("w0", &[32, 3, 3, 3]),
            ("b0", &[32]),
            ("w1", &[32, 1, 3, 3]),
            ("w2", &[64, 32, 1, 1]),
            ("w3", &[64, 64, 3, 3]),
            ("w4", &[128, 64, 3, 3]),
            ("w5", &[10, 128]),
            ("b5", &[10]),
        ],
        nodes: "
            c0 = Conv<pads = [1, 1, 1, 1]>(x, w0, b0)
            r0 = Relu(c0)
            c1 = Conv<group = 32, pads = [1, 1, 1, 1]>(r0, w1)
            c2 = Conv(c1, w2)
            s2 = Sigmoid(c2)
            m2 = Mul(c2, s2)
            p2 = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(m2)
            c3 = Conv<pads = [1, 1, 1, 1]>(p2, w3)
            a3 = Add(p2, c3)
            r3 = Relu(a3)
            j3 = Concat<axis = 1>(r3, p2)
            l3, h3 = Split<axis = 1>(j3)
            d3 = Sub(l3, h3)
            c4 = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(d3, w4)
            p4 = GlobalAveragePool(c4)
            f4 = Flatten(p4)
            y = Gemm<transB = 1>(f4, w5, b5)",
    },
    Layers {
        name: "transformer",
        signature: "(float[N,128] x) => (float[N,128] y)",
        sizes: [64, 384],
        weights: &[
            ("s0", &[128]),
            ("b0", &[128]),
            ("wq", &[128, 128]),
            ("wk", &[128, 128]),
            ("wv", &[128, 128]),
            ("w1", &[128, 512]),
            ("b1", &[512]),
            ("w2", &[512, 128]),
        ],
        nodes: "
            n0 = LayerNormalization(x, s0, b0)
            q = MatMul(n0, wq)
            k = MatMul(n0, wk)
            v = MatMul(n0, wv)
            kt = Transpose<perm = [1, 0]>(k)
            scores = MatMul(q, kt)
            shares = Softmax<axis = -1>(scores)
            mixed = MatMul(shares, v)
            x1 = Add(x, mixed)
            n1 = LayerNormalization(x1, s0, b0)
            m1 = MatMul(n1, w1)
            a1 = Add(m1, b1)
            t1 = Tanh(a1)
            g1 = Mul(a1, t1)
            m2 = MatMul(g1, w2)
            y = Add(x1, m2)",
    },
];

/// The models, each with a name for messages.
pub fn models() -> Result<Vec<(PathBuf, Model)>, Error> {
    let mut models = Vec::new();
    for which in 0..2 {
        let named = |(name, size, model)| (format!("{name} {size}").into(), model);
        models.extend(of_size(which)?.into_iter().map(named));
    }
    Ok(models)
}

/// The models on their smaller inputs, by name.
pub fn small() -> Result<Vec<(String, Model)>, Error> {
    Ok(of_size(0)?.into_iter().map(|(name, _, model)| (name.to_owned(), model)).collect())
}

fn of_size(which: usize) -> Result<Vec<(&'static str, usize, Model)>, Error> {
    let (name, sizes) = QUANTISED;
    let quantised = demo::network_on(sizes[which] as i64, SEED).map_err(|e| Error::Other(e.to_string()))?;
    let mut models = vec![(name, sizes[which], quantised)];
    for layers in &FLOATS {
        let size = layers.sizes[which];
        models.push((layers.name, size, onnx::from_text(&layers.text(size), None)?));
    }
    Ok(models)
}

impl Layers {
    fn text(&self, size: usize) -> String {
        let mut rng = Rng::new(SEED);
        let mut weights = Vec::new();
        for (name, dims) in self.weights {
            let fan_in: usize = dims.iter().skip(1).product();
            let scale = 1.0 / (fan_in as f32).sqrt();
            let mut text = format!("float{dims:?} {name} = {{");
            for i in 0..dims.iter().product() {
                let _ = write!(text, "{}{}", if i > 0 { ", " } else { "" }, rng.unit() * scale);
            }
            weights.push(text + "}");
        }
        let Layers { name, nodes, .. } = self;
        let signature = self.signature.replace('N', &size.to_string());
        let weights = weights.join(", ");
        format!("<ir_version: 8, opset_import: [\"\": 17]>\n{name} {signature} <{weights}> {{{nodes}\n}}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::{Session, random};

    #[test]
    fn the_models_run() {
        for (path, model) in models().unwrap() {
            let session = Session::builder(&path).model(model).threads(1).build().unwrap();
            let inputs = random::fill(session.graph(), &HashMap::new(), &mut HashMap::new(), 0).unwrap();
            session.run(&inputs.into_iter().collect::<Vec<_>>()).unwrap();
        }
    }
}
