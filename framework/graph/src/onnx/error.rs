//! What can be wrong with a model file.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::text::ParseError;
use crate::{GraphError, TensorError};

#[derive(Debug, Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    In { path: PathBuf, source: Box<Error> },
    #[error("not a whole ONNX file, it may be damaged or cut short: {0}")]
    Protobuf(#[from] protobuf::Error),
    #[error("{0}")]
    Text(#[from] ParseError),
    #[error("IR version {0} cannot be read, versions 3 to 14 can")]
    IrVersion(i64),
    #[error("{place}: {what}")]
    Invalid { place: String, what: String },
    #[error("{place}: {source}")]
    Graph { place: String, source: GraphError },
    #[error("tensor `{name}`: {source}")]
    Tensor { name: String, source: TensorError },
    #[error("tensor `{name}`: {what}")]
    TensorContent { name: String, what: String },
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn invalid(place: impl Into<String>, what: impl Into<String>) -> Error {
        Error::Invalid { place: place.into(), what: what.into() }
    }

    pub(super) fn content(name: &str, what: impl Into<String>) -> Error {
        Error::TensorContent { name: name.to_owned(), what: what.into() }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Error {
        Error::Io { path: path.to_owned(), source }
    }

    /// The same error, with the file that it is in.
    pub(super) fn within(self, path: &Path) -> Error {
        match self {
            Error::Io { .. } => self,
            other => Error::In { path: path.to_owned(), source: Box::new(other) },
        }
    }
}
