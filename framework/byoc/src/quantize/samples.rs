//! The inputs that a model is looked at with.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use byoc_graph::{Datum, Graph};

use crate::dataset::{self, DataSet};
use crate::{Error, random};

/// Inputs of a model, read or made one after the other.
#[derive(Clone, Debug)]
pub enum Samples {
    Folders(Vec<PathBuf>),
    Random { seed: u64, count: usize },
}

impl Samples {
    /// Those of a folder in the layout of the ONNX backend tests.
    pub fn open(dir: &Path) -> Result<Samples, Error> {
        Ok(Samples::Folders(dataset::folders(dir)?))
    }

    pub fn len(&self) -> usize {
        match self {
            Samples::Folders(folders) => folders.len(),
            Samples::Random { count, .. } => *count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs of one sample.
    pub fn get(&self, at: usize, graph: &Graph) -> Result<Vec<(String, Datum)>, Error> {
        match self {
            Samples::Folders(folders) => Ok(DataSet::read(&folders[at], graph)?.inputs),
            Samples::Random { seed, .. } => {
                let seed = seed.wrapping_add(at as u64);
                Ok(random::fill(graph, &HashMap::new(), &mut HashMap::new(), seed)?.into_iter().collect())
            }
        }
    }
}
