//! Writing a model file, and external data beside it where that has to be.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use onnx_protobuf::ModelProto;
use protobuf::Message;

use super::error::{Error, Result};
use super::export::{self, Sparse};
use super::is_text;
use super::tensor::Location;
use crate::{External, Model, Tensor, files, text};

/// A protobuf message cannot be longer.
const MAX_MESSAGE: u64 = i32::MAX as u64;
/// Content that the message itself may hold before the rest goes outside.
const MAX_INLINE: u64 = 1 << 30;
/// Tensors smaller than this stay inside in any case.
const MIN_EXTERNAL: usize = 1 << 10;
/// External tensors begin at a multiple of the page size, so that they can be mapped.
const PAGE: u64 = 4096;

/// Writes the model to `path`, all of it or nothing: as text if it ends in `.onnxtxt`, else in binary.
///
/// Content that came from an external file stays there if that lies in the same folder or below;
/// otherwise it is copied to `<path>.data`. What is too large for one message goes there, too.
pub fn save(model: &Model, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    save_at(model, path).map_err(|error| error.within(path))
}

fn save_at(model: &Model, path: &Path) -> Result<()> {
    let at = |error| Error::io(path, error);
    let file_name = path.file_name().ok_or_else(|| at(io::Error::from(io::ErrorKind::InvalidFilename)))?;
    let folder = files::folder_of(path).canonicalize().map_err(at)?;
    let file_name = file_name.to_str().ok_or_else(|| at(io::Error::from(io::ErrorKind::InvalidFilename)))?;
    let data_name = format!("{file_name}.data");

    let sparse = if is_text(path) { Sparse::Fill } else { Sparse::Keep };
    let mut placement = Placement::new(&folder, &data_name);
    let mut proto = export::export(model, sparse, &mut |tensor| placement.place(tensor))?;
    if placement.overwrites_what_it_keeps() {
        placement = Placement { replace_data: true, ..Placement::new(&folder, &data_name) };
        proto = export::export(model, sparse, &mut |tensor| placement.place(tensor))?;
    }
    check_size(&proto)?;
    let write_model = |file: &mut dyn Write| match is_text(path) {
        true => file.write_all(text::print_model(&proto).as_bytes()),
        false => Ok(proto.write_to_writer(file)?),
    };
    let message = files::temporary(&folder, write_model).map_err(at)?;
    let data_path = folder.join(&data_name);
    if !placement.written.is_empty() {
        let data = files::temporary(&folder, |file| placement.write(file)).map_err(at)?;
        data.persist(&data_path).map_err(|error| at(error.error))?;
    }
    let persisted = message.persist(folder.join(file_name));
    if persisted.is_err() && !placement.written.is_empty() {
        // A data file without its model is of no use; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&data_path);
    }
    persisted.map(drop).map_err(|error| at(error.error))
}

/// An error if the message is longer than protobuf allows.
pub(super) fn check_size(proto: &ModelProto) -> Result<()> {
    match proto.compute_size() {
        size if size > MAX_MESSAGE => {
            let what =
                format!("takes {size} bytes, more than the 2 GiB of a message; save it to a file instead");
            Err(Error::invalid("the model", what))
        }
        _ => Ok(()),
    }
}

/// Where the content of each tensor goes.
struct Placement<'a> {
    folder: &'a Path,
    data_name: &'a str,
    /// Whether content is taken over even from the data file itself, because it is written anew.
    replace_data: bool,
    keeps_data: bool,
    inline: u64,
    max_inline: u64,
    written: Vec<(u64, Bytes)>,
    end: u64,
    /// Offsets of what is already to be written, by address and length.
    by_memory: HashMap<(usize, usize), u64>,
}

impl<'a> Placement<'a> {
    fn new(folder: &'a Path, data_name: &'a str) -> Placement<'a> {
        Placement {
            folder,
            data_name,
            replace_data: false,
            keeps_data: false,
            inline: 0,
            max_inline: MAX_INLINE,
            written: Vec::new(),
            end: 0,
            by_memory: HashMap::new(),
        }
    }

    fn place(&mut self, tensor: &Tensor) -> Option<Location> {
        let bytes = tensor.bytes();
        let external = tensor.external();
        if let Some(kept) = external.and_then(|external| self.keep(external)) {
            return Some(kept);
        }
        let total = self.inline.saturating_add(bytes.len() as u64);
        if external.is_none() && (bytes.len() < MIN_EXTERNAL || total <= self.max_inline) {
            self.inline = total;
            return None;
        }
        let key = (bytes.as_ptr() as usize, bytes.len());
        let offset = *self.by_memory.entry(key).or_insert_with(|| {
            let offset = self.end.next_multiple_of(PAGE);
            self.end = offset + bytes.len() as u64;
            self.written.push((offset, bytes.clone()));
            offset
        });
        Some(Location { file: self.data_name.to_owned(), offset, len: bytes.len() as u64 })
    }

    /// The reference to a file that the new model can go on using.
    fn keep(&mut self, external: &External) -> Option<Location> {
        let relative = external.path.strip_prefix(self.folder).ok()?;
        let is_data = relative == Path::new(self.data_name);
        if is_data && self.replace_data {
            return None;
        }
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        self.keeps_data |= is_data;
        Some(Location { file: parts?.join("/"), offset: external.offset, len: external.len })
    }

    fn overwrites_what_it_keeps(&self) -> bool {
        self.keeps_data && !self.written.is_empty()
    }

    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        let mut at = 0;
        for (offset, bytes) in &self.written {
            io::copy(&mut io::Read::take(io::repeat(0), offset - at), file)?;
            file.write_all(bytes)?;
            at = offset + bytes.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
