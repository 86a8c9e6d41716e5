//! What can go wrong, in words that name the thing at fault and the way out.

use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum Error {
    #[error("input `{name}` {why}")]
    Input { name: String, why: String },
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Tensor(#[from] byoc_graph::TensorError),
    #[error(transparent)]
    Model(#[from] byoc_graph::onnx::Error),
    #[error(transparent)]
    Infer(#[from] byoc_graph::infer::InferError),
    #[error(transparent)]
    Table(#[from] byoc_plugin::table::TableError),
    #[error(transparent)]
    Load(#[from] byoc_host::LoadError),
    #[error(transparent)]
    Option(#[from] byoc_host::OptionError),
    #[error(transparent)]
    Plugin(#[from] byoc_host::PluginError),
    #[error(transparent)]
    Partition(#[from] byoc_partitioner::PartitionError),
    #[error(transparent)]
    Build(#[from] byoc_runtime::BuildError),
    #[error(transparent)]
    Run(#[from] byoc_runtime::RunError),
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub fn input(name: &str, why: impl Into<String>) -> Error {
        Error::Input { name: name.to_owned(), why: why.into() }
    }

    pub fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Error {
        Error::File { path: path.into(), source }
    }
}
