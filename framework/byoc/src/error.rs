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
    Table(#[from] byoc_plugin::table::TableError),
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
