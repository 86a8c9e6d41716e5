//! Writing a bundle.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use byoc_graph::onnx;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{
    ArtefactEntry, BundledRegion, DATA, MANIFEST, MODEL, Manifest, ModelEntry, PLAN, REGIONS, RegionEntry,
    SCHEMA, VendorEntry, file_name, sha256,
};
use crate::{Error, ModelOptions, Session, files};

/// Where contents begin, so that they can be mapped.
const PAGE: u16 = 4096;

/// Writes a session of the model in `model` to `path`, all of it or nothing.
pub fn write(
    session: &Session,
    model: &Path,
    options: &ModelOptions,
    path: &Path,
) -> Result<Vec<BundledRegion>, Error> {
    let artefacts = session.artefacts();
    let mut regions = Vec::new();
    let mut told = Vec::new();
    for (region, made) in &artefacts {
        let (name, vendor) = (region.name.clone(), region.vendor.clone());
        let artefact = made.as_ref().ok().map(|made| ArtefactEntry {
            bytes: made.bytes.len() as u64,
            sha256: sha256(&made.bytes),
            compatibility: made.compatibility.clone(),
        });
        let size = made.as_ref().map(|made| made.bytes.len() as u64).map_err(ToString::to_string);
        told.push(BundledRegion { region: name.clone(), vendor: vendor.clone(), artefact: size });
        regions.push(RegionEntry { name, vendor, artefact });
    }
    let vendors = session.vendors().iter().filter_map(|vendor| {
        let (plugin, device) = vendor.on_device()?;
        Some(VendorEntry {
            name: vendor.name().to_owned(),
            version: plugin.library().version.clone(),
            device: vendor.device.map(|_| device.name.clone()),
            options: plugin.options().to_vec(),
        })
    });
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        model: ModelEntry {
            name: file_name(model),
            dims: options.dims.clone(),
            input_shapes: options.input_shapes.clone(),
            disabled_passes: options.disabled_passes.clone(),
        },
        vendors: vendors.collect(),
        regions,
    };
    let at = |error| Error::file(path, error);
    let staged = tempfile::tempdir_in(files::folder_of(path)).map_err(at)?;
    let staged_model = staged.path().join(MODEL);
    onnx::save(&onnx::load(model)?, &staged_model)?;
    let mut json = serde_json::to_string_pretty(&manifest).expect("a manifest is plain data");
    json.push('\n');
    let plan = session.plan()?.to_text();

    files::write_whole_with(path, |file| {
        let mut archive = Archive(ZipWriter::new(BufWriter::with_capacity(1 << 20, file)));
        archive.add(MANIFEST, &mut json.as_bytes())?;
        archive.add(PLAN, &mut plan.as_bytes())?;
        for (region, made) in &artefacts {
            if let Ok(made) = made {
                archive.add(&format!("{REGIONS}{}", region.name), &mut made.bytes.as_slice())?;
            }
        }
        for name in [MODEL, DATA] {
            match File::open(staged.path().join(name)) {
                Ok(mut content) => archive.add(name, &mut content)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        archive.0.finish()?.flush()
    })
    .map_err(at)?;
    Ok(told)
}

struct Archive<W: Write + io::Seek>(ZipWriter<W>);

impl<W: Write + io::Seek> Archive<W> {
    fn add(&mut self, name: &str, content: &mut dyn io::Read) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true)
            .with_alignment(PAGE);
        self.0.start_file(name, options)?;
        io::copy(content, &mut self.0).map(drop)
    }
}
