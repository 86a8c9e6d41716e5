//! The plugin: what the host calls.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use byoc_plugin::{
    CheckContext, CompileContext, DType, Device, DeviceDecl, Dim, Error, Executable, HOST, MatchContext,
    OptionDecl, Options, Plugin, Region, RegionAnswer, Result, Value,
};

use crate::cache::Cache;
use crate::driver::{Driver, Function};
use crate::executable::{Compiled, Constants};
use crate::find::{DRIVER, NVRTC};
use crate::gpu::Gpu;
use crate::lower::lower;
use crate::nvrtc::Nvrtc;
use crate::plan::{Plan, Work};
use crate::program::{Action, Program};
use crate::shape::Shape;

/// What it costs to have a kernel begin, as a device sees it.
const LAUNCH_US: f64 = 3.0;
/// The part of what the device could do at most that kernels get out of it.
const EFFICIENCY: f64 = 0.6;

pub struct Cuda {
    /// Why there is none, where there is none.
    machine: Result<Machine, String>,
    cache: Cache,
    /// Work that comes again is enqueued in one call.
    graphs: bool,
    /// Where generated kernels are written for people to read.
    sources: Option<PathBuf>,
}

/// As many whole numbers as a shape has dimensions at most.
const FEW: usize = 8;

/// What regions run on.
struct Machine {
    gpus: Vec<Arc<Gpu>>,
    nvrtc: Nvrtc,
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
        OptionDecl::bool("graphs", "true", "enqueue work that comes again in one call"),
        OptionDecl::string("sources", "", "folder to write the CUDA C of every kernel to"),
    ];

    fn open(options: &Options) -> Result<Self> {
        let option = |name| options.get(name).unwrap_or_default();
        Ok(Cuda {
            machine: Machine::find(option("driver"), option("nvrtc")),
            cache: Cache::new(option("cache")),
            graphs: options.bool("graphs")?,
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
            agree(region, &Plan::new(&program, &shapes?)?)?;
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
        let plan = Plan::new(&program, &shapes)?;
        let work = |step: &usize| match &program.steps[*step].action {
            Action::Kernel(kernel) => {
                let inputs: Vec<&[usize]> = program.steps[*step]
                    .inputs
                    .iter()
                    .map(|value| shapes[*value].as_deref().unwrap_or_default())
                    .collect();
                kernel.work(&inputs, shapes[program.steps[*step].output].as_deref().unwrap_or_default())
            }
            Action::View(_) => 0.0,
        };
        let launched = plan.work.iter().filter_map(|work| match work {
            Work::Launch { step, .. } => Some(step),
            Work::Copy { .. } => None,
        });
        let flops: f64 = launched.map(work).sum();
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
        let program = lower(region)?;
        let kernels = self.kernels(&program, machine, gpu, context)?;
        let constants = upload(region, &program, gpu)?;
        // What is read lies on the device, and the rest has become part of kernels and plans.
        (0..region.constants.len()).for_each(|constant| context.release_constant(constant));
        let compiled = Compiled {
            gpu: Arc::clone(gpu),
            program,
            kernels,
            constants,
            graphs: self.graphs,
            plans: Mutex::default(),
        };
        let known: Option<Vec<Shape>> =
            region.inputs.iter().map(|input| region.value(*input).shape()).collect();
        if let Some(inputs) = known {
            let plan = compiled.plan(&inputs)?;
            agree(region, &plan)?;
        }
        Ok(Box::new(compiled))
    }
}

fn declared(gpu: &Arc<Gpu>) -> DeviceDecl {
    DeviceDecl {
        id: gpu.id(),
        name: gpu.name.clone(),
        memory_bytes: Some(gpu.memory),
        device: Some(Arc::clone(gpu) as Arc<dyn Device>),
    }
}

impl Machine {
    fn find(driver: &str, nvrtc: &str) -> Result<Machine, String> {
        let absent = |what: &str, place: &crate::find::Place, asked: &str, why: String| {
            format!("{what} is not here: {why}; looked for {}", place.searched(asked))
        };
        let loaded = Driver::load(&DRIVER.candidates(driver));
        let loaded = loaded.map_err(|why| absent("the CUDA driver", &DRIVER, driver, why))?;
        let gpus = Gpu::all(&Arc::new(loaded)).map_err(|error| error.message)?;
        if gpus.is_empty() {
            return Err("the CUDA driver has no GPU".into());
        }
        let compiler = Nvrtc::load(&NVRTC.candidates(nvrtc));
        let nvrtc = compiler.map_err(|why| {
            let hint = "`pip install nvidia-cuda-nvrtc`, or set cuda.nvrtc";
            format!("{}; {hint}", absent("NVRTC", &NVRTC, nvrtc, why))
        })?;
        Ok(Machine { gpus, nvrtc })
    }

    fn gpu(&self, id: u32) -> Result<&Arc<Gpu>> {
        self.gpus.iter().find(|gpu| gpu.ordinal == id).ok_or_else(|| Error::invalid("there is no such GPU"))
    }
}

impl Cuda {
    fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().map_err(Error::unsupported)
    }

    /// The kernels of all steps, compiled on as many threads as the host lends.
    fn kernels(
        &self,
        program: &Program,
        machine: &Machine,
        gpu: &Gpu,
        context: &CompileContext<'_>,
    ) -> Result<Vec<Option<Function>>> {
        let sources: Vec<_> = program
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::Kernel(kernel) => Some(kernel.source()),
                Action::View(_) => None,
            })
            .collect();
        // Each source once, by its first step.
        let first = |step: usize| {
            let source = sources[step].as_ref();
            source.is_some() && !sources[..step].iter().any(|earlier| earlier.as_ref() == source)
        };
        let wanted: Vec<usize> = (0..sources.len()).filter(|step| first(*step)).collect();
        if let Some(folder) = &self.sources {
            let written = wanted.iter().flat_map(|step| &sources[*step]).try_for_each(|s| s.write(folder));
            written.map_err(|e| Error::invalid(format!("cuda.sources={}: {e}", folder.display())))?;
        }
        let failed = Mutex::new(None);
        context.call.parallel_for(wanted.len(), |index| {
            let source = sources[wanted[index]].as_ref();
            let made = source.map(|source| gpu.kernel(source, &machine.nvrtc, &self.cache));
            if let Some(Err(error)) = made {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        })?;
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let loaded = |source: &Option<crate::kernel::Source>| {
            source.as_ref().map(|source| gpu.kernel(source, &machine.nvrtc, &self.cache)).transpose()
        };
        sources.iter().map(loaded).collect()
    }
}

/// Copies the constants that kernels read to the device.
fn upload(region: &Region<'_>, program: &Program, gpu: &Arc<Gpu>) -> Result<Constants> {
    let shapes: HashMap<usize, Shape> = region
        .values
        .iter()
        .filter(|value| value.constant.is_some())
        .filter_map(|value| Some((value.index, value.shape()?)))
        .collect();
    let mut constants = Constants { gpu: Arc::clone(gpu), addresses: Vec::new(), shapes };
    for value in &program.constants {
        let constant = region.value(*value).constant;
        let bytes = constant.map(|constant| constant.bytes).unwrap_or_default();
        let address = gpu.alloc(bytes.len() as u64, 0)?;
        constants.addresses.push(address);
        let from = byoc_plugin::CopyEnd::Host(bytes.as_ptr() as u64);
        let to = byoc_plugin::CopyEnd::Device { address, offset: 0 };
        gpu.copy(from, to, bytes.len() as u64, None)?;
    }
    Ok(constants)
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
    inputs.then(|| program.shapes(|value| likely(region, region.value(value))))
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
