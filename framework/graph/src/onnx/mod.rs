//! ONNX files in and out: with `text`, the only part that knows protobuf.
//!
//! - Weights are mapped, shared and never copied on the way in; equal constants are one tensor.
//! - Nothing is lost: what import does not understand travels along and is written out again.
//! - Input is not trusted: sizes, offsets and nesting are checked before anything is done on their word,
//!   and external data has to lie in the model's folder.

mod attribute;
mod calls;
mod datum;
mod error;
mod export;
mod external;
mod import;
mod leftover;
mod pool;
mod save;
mod tensor;
mod types;
mod value_info;

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use onnx_protobuf::ModelProto;
use protobuf::Message;

pub use datum::{datum_from_bytes, datum_to_bytes, read_datum, write_datum};
pub use error::Error;
pub use save::save;

use export::Sparse;
use external::Storage;

use crate::files::folder_of;
use crate::{MappedFiles, Model, text};

/// Reads a model: in ONNX's textual syntax if the file ends in `.onnxtxt`, else in its binary format.
pub fn load(path: impl AsRef<Path>) -> Result<Model, Error> {
    let path = path.as_ref();
    let mut files = MappedFiles::default();
    let bytes = files.map(path).map_err(|error| Error::io(path, error))?;
    let folder = folder_of(path);
    let model = if is_text(path) {
        std::str::from_utf8(&bytes)
            .map_err(|error| Error::invalid("the file", format!("is not text: {error}")))
            .and_then(|text| from_text(text, Some(folder)))
    } else {
        from_bytes(bytes, Some(folder))
    };
    let mut model = model.map_err(|error| error.within(path))?;
    model.files.append(files);
    Ok(model)
}

fn is_text(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "onnxtxt")
}

/// The model in a binary message, which the model's weights go on sharing. External data is looked for in
/// `folder`.
pub fn from_bytes(bytes: impl Into<Bytes>, folder: Option<&Path>) -> Result<Model, Error> {
    from_proto(onnx_protobuf::parse(&bytes.into())?, folder)
}

/// The model in a text.
pub fn from_text(text: &str, folder: Option<&Path>) -> Result<Model, Error> {
    from_proto(text::parse_model(text)?, folder)
}

/// The model in a parsed message.
pub fn from_proto(proto: ModelProto, folder: Option<&Path>) -> Result<Model, Error> {
    import::import(proto, Storage::new(folder))
}

/// Reads a model from a part of a file. `data` has the other parts of it that are the model's external data, by
/// the location that the model knows them by.
pub fn load_part(
    path: impl AsRef<Path>,
    model: Range<u64>,
    data: &[(String, Range<u64>)],
) -> Result<Model, Error> {
    let path = path.as_ref();
    let mut files = MappedFiles::default();
    let bytes = files.map(path).map_err(|error| Error::io(path, error))?;
    let part = |range: &Range<u64>| match range.start <= range.end && range.end <= bytes.len() as u64 {
        true => Ok(bytes.slice(range.start as usize..range.end as usize)),
        false => Err(Error::invalid("the file", "ends before the model in it does").within(path)),
    };
    let parts = data.iter().map(|(name, range)| Ok((name.clone(), range.start, part(range)?)));
    let whole = path.canonicalize().map_err(|error| Error::io(path, error))?;
    let storage = Storage::of_parts(&whole, parts.collect::<Result<_, Error>>()?);
    let model = onnx_protobuf::parse(&part(&model)?).map_err(Error::from);
    let mut model = model.and_then(|proto| import::import(proto, storage)).map_err(|e| e.within(path))?;
    model.files.append(files);
    Ok(model)
}

/// The model as a message that holds all of its weights.
pub fn to_proto(model: &Model) -> Result<ModelProto, Error> {
    export::export(model, Sparse::Keep, &mut |_| None)
}

/// The model in ONNX's textual syntax, which has no place for documentation and metadata below the model.
pub fn to_text(model: &Model) -> Result<String, Error> {
    // The syntax has no sparse tensors.
    export::export(model, Sparse::Fill, &mut |_| None).map(|proto| text::print_model(&proto))
}

/// The model as a binary message that holds all of its weights.
pub fn to_bytes(model: &Model) -> Result<Vec<u8>, Error> {
    let proto = to_proto(model)?;
    save::check_size(&proto)?;
    Ok(proto.write_to_bytes()?)
}
