//! External data: contents of tensors in files beside the model.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use onnx_protobuf::StringStringEntryProto;

use crate::{External, MappedFiles};

/// The external data of one model, each file mapped once.
pub(super) struct Storage {
    /// The folder of the model; without one, external data is refused.
    folder: Option<PathBuf>,
    by_location: HashMap<String, Stored>,
    files: MappedFiles,
}

/// Content that a location stands for, and where in which file it begins.
#[derive(Clone)]
struct Stored {
    path: PathBuf,
    begin: u64,
    bytes: Bytes,
}

/// Why external data cannot be had.
type Refusal = String;

impl Storage {
    pub fn new(folder: Option<&Path>) -> Storage {
        Storage {
            folder: folder.map(Path::to_owned),
            by_location: HashMap::new(),
            files: MappedFiles::default(),
        }
    }

    /// Locations that stand for parts of one mapped file, by where they begin in it; there are no others.
    pub fn of_parts(path: &Path, parts: Vec<(String, u64, Bytes)>) -> Storage {
        let stored = |(location, begin, bytes)| (location, Stored { path: path.to_owned(), begin, bytes });
        Storage { by_location: parts.into_iter().map(stored).collect(), ..Storage::new(None) }
    }

    /// The files that have been mapped.
    pub fn into_files(self) -> MappedFiles {
        self.files
    }

    /// The `expected` bytes that `entries` refer to.
    pub fn read(
        &mut self,
        entries: &[StringStringEntryProto],
        expected: usize,
    ) -> Result<(Bytes, External), Refusal> {
        let entry = |key: &str| entries.iter().find(|e| e.key() == key).map(|e| e.value());
        let number = |key: &str| match entry(key) {
            Some(text) => match text.trim().parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("the {key} of its external data is `{text}`, which is not a size")),
            },
            None => Ok(None),
        };
        let location = entry("location").ok_or("its external data has no location")?;
        let offset = number("offset")?.unwrap_or(0);
        let len = number("length")?.unwrap_or(expected as u64);
        if len != expected as u64 {
            return Err(format!("takes {expected} bytes, but its external data has a length of {len}"));
        }
        let Stored { path, begin, bytes } = self.map(location)?;
        let end = offset.checked_add(len).filter(|&end| end <= bytes.len() as u64);
        let Some(end) = end else {
            return Err(format!(
                "needs {len} bytes at offset {offset} of `{location}`, which has only {}",
                bytes.len()
            ));
        };
        let content = bytes.slice(offset as usize..end as usize);
        Ok((content, External { path, offset: begin + offset, len }))
    }

    fn map(&mut self, location: &str) -> Result<Stored, Refusal> {
        if let Some(known) = self.by_location.get(location) {
            return Ok(known.clone());
        }
        let path = self.resolve(location)?;
        let bytes = self.files.map(&path).map_err(|error| format!("external data `{location}`: {error}"))?;
        let stored = Stored { path, begin: 0, bytes };
        self.by_location.insert(location.to_owned(), stored.clone());
        Ok(stored)
    }

    /// The file of a location, which must lie in the model's folder, links followed.
    fn resolve(&self, location: &str) -> Result<PathBuf, Refusal> {
        let Some(folder) = &self.folder else {
            return Err(format!("external data `{location}` of a model that was not read from a file"));
        };
        let relative = Path::new(location);
        let plain = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain || location.is_empty() {
            return Err(format!("external data `{location}` is outside the model's folder; it is not read"));
        }
        let unreadable = |error| format!("external data `{location}`: {error}");
        let folder = folder.canonicalize().map_err(unreadable)?;
        let path = folder.join(relative).canonicalize().map_err(unreadable)?;
        if !path.starts_with(&folder) {
            return Err(format!(
                "external data `{location}` is a link out of the model's folder; it is not read"
            ));
        }
        Ok(path)
    }
}
