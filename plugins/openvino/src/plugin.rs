//! The plugin: what the host calls.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use byoc_plugin::{
    ArtefactAnswer, CheckContext, CompileContext, DeviceDecl, Error, Executable, HOST, MatchContext,
    OptionDecl, Options, Plugin, Region, RegionAnswer, Result, ThreadPolicy,
};

use crate::runtime::Runtime;
use crate::{check, executable, find};

pub struct OpenVino {
    /// Why it is not there, where it is not.
    runtime: Result<Runtime, String>,
    device: String,
    /// What OpenVINO said of matches, by what its answer depends on.
    asked: Mutex<HashMap<String, Option<String>>>,
}

byoc_plugin::export_plugin!(OpenVino, table = include_str!("table.toml"));

impl Plugin for OpenVino {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl::string(
            "library",
            "",
            "libopenvino_c.so or its folder; else $OPENVINO_LIB, what the loader finds, and the Pythons on $PATH",
        ),
        OptionDecl::string("device", "CPU", "the device to compile for, as OpenVINO names it"),
        OptionDecl::bool(
            "low_precision",
            "false",
            "quantised models in OpenVINO's int8: faster, rounds elsewhere",
        ),
    ];
    /// As many as the host has, which OpenVINO is told when it compiles.
    const THREADS: ThreadPolicy = ThreadPolicy::Own(0);

    fn open(options: &Options) -> Result<Self> {
        let candidates = find::candidates(options.get("library").unwrap_or_default());
        let device = options.get("device").unwrap_or_default().to_owned();
        let low_precision = options.bool("low_precision")?;
        let runtime = Runtime::load(&candidates, low_precision).map_err(|tried| {
            format!("OpenVINO is not here: `pip install openvino`, or set openvino.library ({tried})")
        });
        let mut known = runtime.iter().map(|runtime| &runtime.devices);
        if let Some(known) = known.find(|known| !known.contains(&device)) {
            let devices = known.join(", ");
            return Err(Error::invalid(format!("OpenVINO has no device `{device}`; it has {devices}")));
        }
        Ok(OpenVino { runtime, device, asked: Mutex::default() })
    }

    /// All of them compute in host memory; the one that was chosen comes first.
    fn devices(&self) -> Vec<DeviceDecl> {
        let mut names: Vec<_> = self.runtime.iter().flat_map(|runtime| runtime.devices.clone()).collect();
        names.sort_by_key(|name| *name != self.device);
        let device = |name| DeviceDecl { id: HOST, name, memory_bytes: None, device: None };
        names.into_iter().map(device).collect()
    }

    fn check_match(&self, region: &Region<'_>, context: &MatchContext<'_>) -> Result<()> {
        let runtime = self.runtime()?;
        check::types(region)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match asked.entry(check::key(region)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(check::read(runtime, region, context.onnx()?).err().map(|e| e.message))
            }
        };
        answer.as_ref().map_or(Ok(()), |why| Err(Error::unsupported(format!("OpenVINO: {why}"))))
    }

    fn check_region(&self, region: &Region<'_>, context: &CheckContext<'_>) -> Result<RegionAnswer> {
        check::read(self.runtime()?, region, context.onnx()?)?;
        Ok(RegionAnswer::default())
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let runtime = self.runtime()?;
        let model = check::read(runtime, region, context.onnx()?)?;
        let compiled = runtime.compile(&model, &self.device, context.call.threads());
        let compiled = compiled.map_err(check::unsupported)?;
        if (compiled.inputs.len(), compiled.outputs.len()) != (region.inputs.len(), region.outputs.len()) {
            return Err(Error::unsupported("OpenVINO has other inputs or outputs than the region"));
        }
        let direct = region.outputs.iter().map(|&output| !check::may_be_an_input(region, output)).collect();
        // OpenVINO has copied them.
        (0..region.constants.len()).for_each(|constant| context.release_constant(constant));
        Ok(Box::new(executable::Region { compiled, direct, compatibility: self.compatibility()? }))
    }

    fn load(&self, artefact: &[u8], context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let compiled = self.runtime()?.import(artefact, &self.device, context.call.threads())?;
        let direct = vec![false; compiled.outputs.len()];
        Ok(Box::new(executable::Region { compiled, direct, compatibility: self.compatibility()? }))
    }

    fn check_artefact(&self, compatibility: &str) -> ArtefactAnswer {
        match self.compatibility() {
            Ok(own) if own == compatibility => ArtefactAnswer::Best,
            _ if compatibility.starts_with(FAMILY) => ArtefactAnswer::Recompile,
            _ => ArtefactAnswer::Foreign,
        }
    }
}

/// What compatibility strings begin with; version and device follow.
const FAMILY: &str = "openvino ";

impl OpenVino {
    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().map_err(Error::unsupported)
    }

    fn compatibility(&self) -> Result<String> {
        Ok(format!("{FAMILY}{} {}", self.runtime()?.version, self.device))
    }
}
