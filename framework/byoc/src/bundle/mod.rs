//! A compiled model in one file: the model, every decision, and the vendors' artefacts.
//!
//! `docs/bundles.md` has the contract.

mod read;
mod write;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use read::{Bundle, is_bundle};
pub use write::write;

const SCHEMA: &str = "byoc.bundle/1";
const MANIFEST: &str = "bundle.json";
const MODEL: &str = "model.onnx";
const DATA: &str = "model.onnx.data";
const PLAN: &str = "plan.toml";
const REGIONS: &str = "regions/";

/// `bundle.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: String,
    model: ModelEntry,
    vendors: Vec<VendorEntry>,
    regions: Vec<RegionEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    /// Of the file that was compiled.
    name: String,
    dims: Vec<(String, i64)>,
    input_shapes: Vec<(String, Vec<i64>)>,
    disabled_passes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VendorEntry {
    name: String,
    version: String,
    /// Where one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    options: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionEntry {
    name: String,
    vendor: String,
    /// `None` where the vendor makes no artefacts: the region is compiled when the bundle is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artefact: Option<ArtefactEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtefactEntry {
    bytes: u64,
    sha256: String,
    /// The vendor's own word for what it fits.
    compatibility: String,
}

/// A vendor's compiled region, as bytes.
#[derive(Debug, Clone)]
pub struct Artefact {
    pub vendor: String,
    pub compatibility: String,
    pub bytes: Bytes,
}

/// Artefacts by region.
pub type Artefacts = Arc<HashMap<String, Artefact>>;

/// What became of a region in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundledRegion {
    pub region: String,
    pub vendor: String,
    /// The artefact's size, or why there is none.
    pub artefact: Result<u64, String>,
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
