//! A model with its inputs and what they should give, in the layout of ONNX's backend tests.

use std::path::Path;

use byoc_graph::{Datum, Model, onnx};

use crate::Error;

/// Writes `model.onnx` and `test_data_set_0` into a folder, which is made where it is missing.
pub fn save(
    folder: &Path,
    model: &Model,
    inputs: &[(String, Datum)],
    outputs: &[(String, Datum)],
) -> Result<(), Error> {
    let data = folder.join("test_data_set_0");
    std::fs::create_dir_all(&data).map_err(|e| Error::file(&data, e))?;
    onnx::save(model, folder.join("model.onnx"))?;
    for (what, values) in [("input", inputs), ("output", outputs)] {
        for (k, (name, datum)) in values.iter().enumerate() {
            onnx::write_datum(data.join(format!("{what}_{k}.pb")), name, datum)?;
        }
    }
    Ok(())
}
