//! The plugin: what the host calls.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use byoc_plugin::{
    ArtefactAnswer, CheckContext, CompileContext, DType, Device, DeviceDecl, Dim, Error, Executable, HOST,
    MatchContext, OptionDecl, Options, Plugin, Region, RegionAnswer, Result, Value,
};

use crate::api::{CublasLtApi, CudnnApi, first};
use crate::artefact::{FAMILY, Stored};
use crate::cache::Cache;
use crate::driver::Driver;
use crate::executable::{Compiled, Constants};
use crate::find::{CUBLASLT, CUDNN, DRIVER, NVRTC, Place};
use crate::gpu::{Gpu, Shelf};
use crate::kernel::Alone;
use crate::loaded::{Kernels, Maker};
use crate::lower::lower;
use crate::nvrtc::Nvrtc;
use crate::plan::Plan;
use crate::program::{Action, Program};
use crate::shape::Shape;
use crate::trace::Trace;

/// The word for no library, in their options.
const OFF: &str = "off";
/// What it costs to have a kernel begin, as a device sees it.
const LAUNCH_US: f64 = 3.0;
/// The part of what the device could do at most that kernels get out of it.
const EFFICIENCY: f64 = 0.6;

pub struct Cuda {
    /// Why there is none, where there is none.
    machine: Result<Machine, String>,
    /// Work that comes again is enqueued in one call.
    graphs: bool,
    trace: Option<Arc<Trace>>,
    /// Where generated kernels are written for people to read.
    sources: Option<PathBuf>,
}

/// As many whole numbers as a shape has dimensions at most.
const FEW: usize = 8;

/// What regions run on.
struct Machine {
    gpus: Vec<Arc<Gpu>>,
    maker: Arc<Maker>,
}

byoc_plugin::export_plugin!(Cuda, table = include_str!("table.toml"));

impl Plugin for Cuda {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl::string(
            "driver",
            "",
            "libcuda.so.1 or its folder; else $BYOC_CUDA_DRIVER and what the loader finds",
        ),
        OptionDecl::string(
            "nvrtc",
            "",
            "libnvrtc.so or its folder; else $BYOC_CUDA_NVRTC, what the loader finds, and the Pythons on $PATH",
        ),
        OptionDecl::string(
            "cache",
            "",
            "folder for compiled kernels, or `off`; else byoc/cuda in $XDG_CACHE_HOME or ~/.cache",
        ),
        OptionDecl::string(
            "cublaslt",
            "",
            "libcublasLt.so or its folder, or `off`; else $BYOC_CUDA_CUBLASLT, and as for NVRTC",
        ),
        OptionDecl::string(
            "cudnn",
            "",
            "libcudnn.so.9 or its folder, or `off`; else $BYOC_CUDA_CUDNN, and as for NVRTC",
        ),
        OptionDecl::bool("tf32", "false", "round factors of float32 products to what tensor cores take"),
        OptionDecl::bool("graphs", "true", "enqueue work that comes again in one call"),
        OptionDecl::string("sources", "", "folder to write the CUDA C of every kernel to"),
        OptionDecl::string(
            "trace",
            "",
            "file to add a line to for each execution: launches, allocations, waits",
        ),
    ];

    fn open(options: &Options) -> Result<Self> {
        let option = |name| options.get(name).unwrap_or_default();
        Ok(Cuda {
            machine: Machine::find(options),
            graphs: options.bool("graphs")?,
            trace: trace(option("trace"))?,
            sources: Some(PathBuf::from(option("sources"))).filter(|path| !path.as_os_str().is_empty()),
        })
    }

    /// Where there is no GPU, the name of the only device says why.
    fn devices(&self) -> Vec<DeviceDecl> {
        match &self.machine {
            Ok(machine) => machine.gpus.iter().map(declared).collect(),
            Err(why) => {
                vec![DeviceDecl { id: HOST, name: format!("host ({why})"), memory_bytes: None, device: None }]
            }
        }
    }

    fn check_match(&self, region: &Region<'_>, _: &MatchContext<'_>) -> Result<()> {
        self.machine()?;
        if is_arithmetic_of_shapes(region) {
            return Err(Error::unsupported("a few whole numbers, which the host has at hand"));
        }
        let program = lower(region)?;
        // What cannot be planned for the sizes that are known or likely is refused before it is compiled.
        if let Some(shapes) = known_shapes(region, &program) {
            agree(region, &Plan::new(&program, &shapes?, &Alone)?)?;
        }
        Ok(())
    }

    fn check_region(&self, region: &Region<'_>, context: &CheckContext<'_>) -> Result<RegionAnswer> {
        let (machine, program) = (self.machine()?, lower(region)?);
        let gpu = machine.gpu(context.device.id)?;
        if program.steps.iter().all(|step| matches!(step.action, Action::View(_))) {
            let refused =
                region.nodes.iter().map(|node| (node.index, "alone, it only changes a shape".into()));
            return Ok(RegionAnswer { refused: refused.collect(), ..RegionAnswer::default() });
        }
        let Some(shapes) = known_shapes(region, &program) else { return Ok(RegionAnswer::default()) };
        let shapes = shapes?;
        let plan = Plan::new(&program, &shapes, &Alone)?;
        let work = |step: usize| match &program.steps[step].action {
            Action::Kernel(kernel) => {
                let inputs: Vec<&[usize]> = program.steps[step]
                    .inputs
                    .iter()
                    .map(|value| shapes[*value].as_deref().unwrap_or_default())
                    .collect();
                kernel.work(&inputs, shapes[program.steps[step].output].as_deref().unwrap_or_default())
            }
            Action::View(_) => 0.0,
        };
        let flops: f64 = plan.steps().map(work).sum();
        let traffic = plan.traffic(&program, &shapes);
        let compute = (flops / gpu.flops_per_us).max(traffic / gpu.bytes_per_us) / EFFICIENCY;
        Ok(RegionAnswer {
            fixed_us: Some(LAUNCH_US * plan.work.len() as f64),
            compute_us: Some(compute).filter(|us| us.is_finite()),
            refused: Vec::new(),
        })
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let machine = self.machine()?;
        let gpu = machine.gpu(context.device.id)?;
        let compiled = self.compiled(region, Stored::new(region), machine, gpu)?;
        let bytes = |index: usize| Some(region.value(*region.constants.get(index)?).constant?.bytes);
        compiled.constants.load(gpu, bytes)?;
        // What is read lies on the device, and the rest has become part of kernels and plans.
        (0..region.constants.len()).for_each(|constant| context.release_constant(constant));
        let known: Option<Vec<Shape>> =
            region.inputs.iter().map(|input| region.value(*input).shape()).collect();
        let wanted = match known {
            Some(inputs) => {
                let plan = compiled.plan(&inputs)?;
                agree(region, &plan)?;
                plan.sources()
            }
            None => compiled.kernels.all(),
        };
        compiled.kernels.prepare(&wanted, context)?;
        Ok(Box::new(compiled))
    }

    fn load(&self, artefact: &[u8], context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let machine = self.machine()?;
        let gpu = machine.gpu(context.device.id)?;
        let mut stored: Stored = postcard::from_bytes(artefact)
            .map_err(|error| Error::invalid(format!("a damaged artefact: {error}")))?;
        machine.maker.keep(std::mem::take(&mut stored.images));
        let copy = stored.clone();
        Ok(Box::new(self.compiled(&copy.region()?, stored, machine, gpu)?))
    }

    fn check_artefact(&self, compatibility: &str) -> ArtefactAnswer {
        let Ok(machine) = &self.machine else { return ArtefactAnswer::Recompile };
        let runs = |gpu: &Arc<Gpu>| machine.maker.compatibility(gpu) == compatibility;
        match compatibility.starts_with(FAMILY) {
            true if machine.gpus.iter().any(runs) => ArtefactAnswer::Best,
            true => ArtefactAnswer::Recompile,
            false => ArtefactAnswer::Foreign,
        }
    }
}

fn absent(what: &str, place: &Place, asked: &str, why: String) -> String {
    format!("{what} is not here: {why}; looked for {}", place.searched(asked))
}

/// A library that kernels of our own can do without, unless it was asked for.
fn library<Api>(
    asked: &str,
    name: &str,
    place: &Place,
    load: fn(&Path) -> Result<Api, String>,
) -> Result<Option<Arc<Api>>, String> {
    if asked == OFF {
        return Ok(None);
    }
    match first(&place.candidates(asked), load) {
        Ok(api) => Ok(Some(Arc::new(api))),
        Err(_) if asked.is_empty() => Ok(None),
        Err(why) => Err(absent(name, place, asked, why)),
    }
}

/// The file of an option, which may be none.
fn trace(path: &str) -> Result<Option<Arc<Trace>>> {
    let open = |path: &str| {
        let opened = Trace::open(Path::new(path)).map(Arc::new);
        opened.map_err(|error| Error::invalid(format!("cuda.trace={path}: {error}")))
    };
    Some(path).filter(|path| !path.is_empty()).map(open).transpose()
}

fn declared(gpu: &Arc<Gpu>) -> DeviceDecl {
    DeviceDecl {
        id: gpu.id(),
        // Costs differ, and people see what is missing.
        name: match gpu.missing()[..] {
            [] => gpu.name.clone(),
            ref missing => format!("{} without {}", gpu.name, missing.join(" and ")),
        },
        memory_bytes: Some(gpu.memory),
        device: Some(Arc::clone(gpu) as Arc<dyn Device>),
    }
}

impl Machine {
    fn find(options: &Options) -> Result<Machine, String> {
        let option = |name| options.get(name).unwrap_or_default();
        let [driver, nvrtc] = [option("driver"), option("nvrtc")];
        let loaded = Driver::load(&DRIVER.candidates(driver));
        let loaded = loaded.map_err(|why| absent("the CUDA driver", &DRIVER, driver, why))?;
        let shelf = Shelf {
            blas: library(option("cublaslt"), "cuBLASLt", &CUBLASLT, CublasLtApi::load)?,
            dnn: library(option("cudnn"), "cuDNN", &CUDNN, CudnnApi::load)?,
            tf32: options.bool("tf32").map_err(|error| error.message)?,
        };
        let gpus = Gpu::all(&Arc::new(loaded), &shelf).map_err(|error| error.message)?;
        if gpus.is_empty() {
            return Err("the CUDA driver has no GPU".into());
        }
        let compiler = Nvrtc::load(&NVRTC.candidates(nvrtc));
        let nvrtc = compiler.map_err(|why| {
            let hint = "`pip install nvidia-cuda-nvrtc`, or set cuda.nvrtc";
            format!("{}; {hint}", absent("NVRTC", &NVRTC, nvrtc, why))
        })?;
        Ok(Machine {
            gpus,
            maker: Arc::new(Maker { nvrtc, cache: Cache::new(option("cache")), kept: Mutex::default() }),
        })
    }

    fn gpu(&self, id: u32) -> Result<&Arc<Gpu>> {
        self.gpus.iter().find(|gpu| gpu.ordinal == id).ok_or_else(|| Error::invalid("there is no such GPU"))
    }
}

impl Cuda {
    /// A lowered region, of which nothing is compiled or copied yet.
    fn compiled(
        &self,
        region: &Region<'_>,
        stored: Stored,
        machine: &Machine,
        gpu: &Arc<Gpu>,
    ) -> Result<Compiled> {
        let program = lower(region)?;
        let kernels = Kernels::new(&program, gpu, &machine.maker);
        self.sources.as_deref().map_or(Ok(()), |folder| kernels.write(folder))?;
        let shapes = region
            .values
            .iter()
            .filter(|value| value.constant.is_some())
            .filter_map(|value| Some((value.index, value.shape()?)));
        let index = |value: &usize| region.value(*value).constant.map_or(0, |constant| constant.index);
        let constants = Constants {
            indices: program.constants.iter().map(index).collect(),
            weights: program.constants.iter().map(|_| OnceLock::new()).collect(),
            shapes: shapes.collect(),
        };
        Ok(Compiled {
            gpu: Arc::clone(gpu),
            program,
            kernels,
            constants,
            graphs: self.graphs,
            name: region.name.to_owned(),
            trace: self.trace.clone(),
            stored: Mutex::new(stored),
            plans: Mutex::default(),
        })
    }

    fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().map_err(Error::unsupported)
    }
}

/// Whether all that comes out is a handful of whole numbers: a device would have to be waited for before anybody knows
/// them.
fn is_arithmetic_of_shapes(region: &Region<'_>) -> bool {
    let is_few = |value: &Value<'_>| {
        let whole = matches!(value.dtype, Some(DType::I32 | DType::I64 | DType::Bool));
        whole
            && value.rank().is_some_and(|rank| rank <= 1)
            && value.elements().is_none_or(|count| count <= FEW)
    };
    region.outputs.iter().all(|output| is_few(region.value(*output)))
}

/// The shapes of all values, where those of the inputs are known or likely.
fn known_shapes(region: &Region<'_>, program: &Program) -> Option<Result<Vec<Option<Shape>>>> {
    let inputs = region.inputs.iter().all(|input| likely(region, region.value(*input)).is_some());
    let known = |value: usize| likely(region, region.values.get(value)?);
    inputs.then(|| program.shapes(known))
}

/// The shape that a value has or is likely to have.
fn likely(region: &Region<'_>, value: &Value<'_>) -> Option<Shape> {
    if value.producer.is_some() {
        return None;
    }
    let size = |dim: &Dim| match dim {
        Dim::Known(size) => Some(*size),
        Dim::Symbol(symbol) => usize::try_from(region.symbols.get(*symbol)?.likely).ok(),
        Dim::Unknown => None,
    };
    value.dims.as_ref()?.iter().map(size).collect()
}

/// The host has inferred shapes, too: both have to agree.
fn agree(region: &Region<'_>, plan: &Plan) -> Result<()> {
    for (output, own) in region.outputs.iter().zip(&plan.outputs) {
        let value = region.value(*output);
        if let Some(theirs) = value.shape().filter(|theirs| theirs != own) {
            let words = format!("`{}` would have the shape {own:?}, not {theirs:?}", value.name);
            return Err(Error { node: value.producer.map(|(node, _)| node), ..Error::unsupported(words) });
        }
    }
    Ok(())
}
