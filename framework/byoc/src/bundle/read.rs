//! Reading a bundle. What it says is not trusted.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use byoc_graph::{Model, onnx};
use byoc_host::{PluginFile, search};
use byoc_partitioner::Plan;
use byoc_plugin::table::PatternTable;
use bytes::Bytes;
use serde::Deserialize;
use zip::{CompressionMethod, ZipArchive};

use super::{
    Artefact, Artefacts, DATA, MANIFEST, MODEL, Manifest, PLAN, REGIONS, RegionEntry, SCHEMA, sha256,
};
use crate::vendors::DEVICE;
use crate::{Error, ModelOptions, PluginOption, VendorSource};

/// Longer texts are not what `byoc compile` writes.
const MAX_TEXT: u64 = 256 << 20;

/// A bundle that has been read.
pub struct Bundle {
    path: PathBuf,
    manifest: Manifest,
    pub model: Model,
    pub plan: Plan,
    pub artefacts: Artefacts,
}

/// Read first: a later schema may have fields that this version does not know.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// Whether a file is an archive, as every bundle is, and no model.
pub fn is_bundle(path: &Path) -> bool {
    let mut begin = [0; 4];
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok()
        && begin == *b"PK\x03\x04"
}

impl Bundle {
    pub fn open(path: &Path) -> Result<Bundle, Error> {
        let mut parts = Parts::open(path)?;
        let text = parts.text(MANIFEST)?;
        let head: Head = serde_json::from_str(&text).map_err(|e| damaged(path, MANIFEST, e))?;
        if head.schema != SCHEMA {
            let found = head.schema;
            return Err(invalid(path, format!("has schema `{found}`, this version reads `{SCHEMA}`")));
        }
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| damaged(path, MANIFEST, e))?;
        let plan = parts.text(PLAN)?;
        let plan = Plan::parse(&format!("{}: {PLAN}", path.display()), &plan)
            .map_err(byoc_partitioner::PartitionError::from)?;
        let mut artefacts = HashMap::new();
        for region in &manifest.regions {
            if let Some(artefact) = parts.artefact(region)? {
                artefacts.insert(region.name.clone(), artefact);
            }
        }
        let model = parts.place(MODEL)?;
        let data = parts.find(DATA)?.map(|range| (DATA.to_owned(), range));
        let model = onnx::load_part(path, model, data.as_slice())?;
        let artefacts = Arc::new(artefacts);
        Ok(Bundle { path: path.to_owned(), manifest, model, plan, artefacts })
    }

    /// What was settled when the model was compiled.
    pub fn model_options(&self) -> ModelOptions {
        let model = &self.manifest.model;
        ModelOptions {
            dims: model.dims.clone(),
            input_shapes: model.input_shapes.clone(),
            disabled_passes: model.disabled_passes.clone(),
        }
    }

    /// The vendors to be loaded: those given, or else those of the bundle by their names.
    pub fn sources(&self, given: &[VendorSource]) -> Result<Vec<VendorSource>, Error> {
        if !given.is_empty() {
            self.check_vendors(given)?;
            return Ok(given.to_vec());
        }
        let by_name = |name: &String| {
            let path = Path::new(name);
            let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
            if !plain || path.components().count() != 1 || path.extension().is_some() || path.exists() {
                let what = format!("wants a vendor `{name}`, which is not a name to look up");
                return Err(invalid(&self.path, what + "; say where its plugin is with --plugin"));
            }
            Ok(VendorSource::Plugin(name.clone()))
        };
        self.manifest.vendors.iter().map(|vendor| by_name(&vendor.name)).collect()
    }

    /// Options of the bundle, with those given over them.
    pub fn plugin_options(&self, given: &[PluginOption]) -> Vec<PluginOption> {
        let of = |vendor: &str, key: &str, value: &str| PluginOption {
            vendor: vendor.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let own = self.manifest.vendors.iter().flat_map(|vendor| {
            let device = vendor.device.iter().map(|device| (DEVICE, device.as_str()));
            let options = vendor.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            options.chain(device).map(|(key, value)| of(&vendor.name, key, value)).collect::<Vec<_>>()
        });
        own.chain(given.iter().cloned()).collect()
    }

    /// An error where a vendor of the bundle is not among the plugins given. None of their code runs for that.
    fn check_vendors(&self, given: &[VendorSource]) -> Result<(), Error> {
        let mut present = Vec::new();
        for source in given {
            if let VendorSource::Plugin(name) = source {
                let file = PluginFile::read(&search::find(name)?)?;
                let (text, table) = (file.pattern_table.as_bytes(), file.path.display().to_string());
                present.push(PatternTable::parse_bytes(&table, text)?.vendor.name);
            }
        }
        match self.manifest.vendors.iter().find(|v| !present.contains(&v.name)) {
            None => Ok(()),
            Some(vendor) => {
                let what =
                    format!("was compiled for `{}`, which is not among the plugins given", vendor.name);
                Err(invalid(&self.path, what))
            }
        }
    }
}

/// The entries of an archive, by where they lie in its file.
struct Parts<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
    len: u64,
}

impl<'a> Parts<'a> {
    fn open(path: &'a Path) -> Result<Parts<'a>, Error> {
        let file = File::open(path).map_err(|e| Error::file(path, e))?;
        let len = file.metadata().map_err(|e| Error::file(path, e))?.len();
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|e| invalid(path, e))?;
        Ok(Parts { path, archive, len })
    }

    /// Where an entry's content is, as it is in the file.
    fn find(&mut self, name: &str) -> Result<Option<Range<u64>>, Error> {
        let (path, len) = (self.path, self.len);
        let entry = match self.archive.by_name(name) {
            Ok(entry) => entry,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(path, name, error)),
        };
        if entry.compression() != CompressionMethod::Stored {
            return Err(damaged(path, name, "it is compressed, which bundles are not"));
        }
        let range = entry.data_start().and_then(|start| Some(start..start.checked_add(entry.size())?));
        match range.filter(|range| range.end <= len) {
            Some(range) => Ok(Some(range)),
            None => Err(damaged(path, name, "it goes beyond the end of the file")),
        }
    }

    fn place(&mut self, name: &str) -> Result<Range<u64>, Error> {
        self.find(name)?.ok_or_else(|| invalid(self.path, format!("has no `{name}`; is it a bundle?")))
    }

    fn content(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let range = self.place(name)?;
        let size = range.end - range.start;
        if size > limit {
            return Err(damaged(self.path, name, format!("it has {size} bytes")));
        }
        let mut content = Vec::with_capacity(size as usize);
        let entry = self.archive.by_name(name).map_err(|e| damaged(self.path, name, e))?;
        entry.take(size).read_to_end(&mut content).map_err(|e| damaged(self.path, name, e))?;
        Ok(content)
    }

    fn text(&mut self, name: &str) -> Result<String, Error> {
        let content = self.content(name, MAX_TEXT)?;
        String::from_utf8(content).map_err(|error| damaged(self.path, name, error))
    }

    fn artefact(&mut self, region: &RegionEntry) -> Result<Option<Artefact>, Error> {
        let Some(entry) = &region.artefact else { return Ok(None) };
        let name = format!("{REGIONS}{}", region.name);
        let content = self.content(&name, self.len)?;
        if content.len() as u64 != entry.bytes || sha256(&content) != entry.sha256 {
            return Err(damaged(self.path, &name, format!("it is not what {MANIFEST} says")));
        }
        Ok(Some(Artefact {
            vendor: region.vendor.clone(),
            compatibility: entry.compatibility.clone(),
            bytes: Bytes::from(content),
        }))
    }
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::Other(format!("{}: {what}", path.display()))
}

fn damaged(path: &Path, entry: &str, what: impl std::fmt::Display) -> Error {
    invalid(path, format!("`{entry}` is damaged: {what}"))
}
