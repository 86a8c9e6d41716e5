//! Folders in the layout of the ONNX backend tests: `test_data_set_*/input_K.pb` and `output_K.pb`.

use std::fs;
use std::path::{Path, PathBuf};

use byoc_graph::{Datum, Graph, ValueId, onnx};

use crate::Error;

/// One set of inputs with their reference outputs.
#[derive(Clone, Debug)]
pub struct DataSet {
    pub name: String,
    pub inputs: Vec<(String, Datum)>,
    /// In the order of the model's outputs; shorter where some have no reference.
    pub outputs: Vec<(String, Datum)>,
}

/// The folders of a data directory that hold a set, in the order of their numbers.
pub fn folders(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).map_err(|e| Error::file(dir, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::file(dir, e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_prefix("test_data_set_").and_then(|n| n.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Error::Other(format!("{}: holds no folder test_data_set_*", dir.display())));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

impl DataSet {
    /// Reads one folder for a graph.
    pub fn read(folder: &Path, graph: &Graph) -> Result<DataSet, Error> {
        let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(DataSet {
            name,
            inputs: numbered(folder, "input", graph, &numbered_inputs(folder, graph))?,
            outputs: numbered(folder, "output", graph, graph.outputs())?,
        })
    }
}

/// The inputs that files are numbered over: all where there is a file for each; else those that have to be
/// given come first, and those with a default behind them.
fn numbered_inputs(folder: &Path, graph: &Graph) -> Vec<ValueId> {
    let inputs = graph.inputs();
    let all_given = (0..inputs.len()).all(|k| folder.join(format!("input_{k}.pb")).exists());
    let (with, without): (Vec<ValueId>, Vec<ValueId>) =
        inputs.iter().partition(|&&v| !all_given && graph.default_of(v).is_some());
    without.into_iter().chain(with).collect()
}

/// `input_0.pb`, `input_1.pb`, … for the given values, until the first that is missing.
fn numbered(
    folder: &Path,
    what: &str,
    graph: &Graph,
    values: &[ValueId],
) -> Result<Vec<(String, Datum)>, Error> {
    let mut data = Vec::new();
    for (k, &id) in values.iter().enumerate() {
        let path = folder.join(format!("{what}_{k}.pb"));
        if !path.exists() {
            continue;
        }
        let value = graph.value(id);
        data.push((value.name.to_string(), onnx::read_datum(&path, value.ty.as_ref())?));
    }
    Ok(data)
}
