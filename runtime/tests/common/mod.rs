//! Building and running programs from ONNX text.

use std::sync::Arc;

use byoc_cpu::Registry;
use byoc_cpu::fast::Isa;
use byoc_cpu::pool::ThreadPool;
use byoc_graph::{Datum, Model, Tensor};
use byoc_runtime::{BuildError, NoRegions, Options, Program};

pub fn model(text: &str) -> Model {
    byoc_graph::onnx::from_text(text, None).expect("the text is a model")
}

pub fn try_build(model: &Model, threads: usize) -> Result<Program, BuildError> {
    Program::build(
        model,
        &Options {
            registry: &Registry::default(),
            regions: &NoRegions,
            pool: Arc::new(ThreadPool::new(threads)),
            isa: Isa::detect(),
        },
    )
}

pub fn build(text: &str) -> Program {
    try_build(&model(text), 2).expect("the model can be built")
}

pub fn f32s(dims: &[usize], values: &[f32]) -> Datum {
    Datum::Tensor(Tensor::from_vec(dims, values.to_vec()).expect("sized"))
}

pub fn i64s(dims: &[usize], values: &[i64]) -> Datum {
    Datum::Tensor(Tensor::from_vec(dims, values.to_vec()).expect("sized"))
}
