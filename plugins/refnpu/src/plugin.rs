//! The plugin: what the host calls.

use std::any::Any;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use byoc_plugin::{
    Artefact, ArtefactAnswer, CheckContext, CompileContext, Dim, Error, Executable, ExecuteContext, LogLevel,
    MatchContext, OptionDecl, Options, Plugin, Region, RegionAnswer, Result, TensorView, TensorViewMut,
};

use crate::codegen::{self, LowerError, lower};
use crate::device::{CLOCK_HZ, CORES, Device, SCRATCHPAD_KIB};
use crate::fault::{self, Fault};
use crate::program::{Context, Program, VERSION};
use crate::region;
use crate::sim::Counters;

pub struct Refnpu {
    codegen: codegen::Options,
    fault: Arc<Fault>,
    report: bool,
}

byoc_plugin::export_plugin!(
    Refnpu,
    table = include_str!("table.toml"),
    name = "refnpu",
    version = env!("CARGO_PKG_VERSION")
);

impl Plugin for Refnpu {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl::bool(
            "double_buffer",
            "true",
            "load the next tile while one computes; false shows what that saves",
        ),
        fault::OPTIONS[0],
        fault::OPTIONS[1],
        fault::OPTIONS[2],
        OptionDecl::int("cores", "1", "cores that share each layer, each with a scratchpad; 1 to 16"),
        OptionDecl::int("scratchpad_kib", "512", "KiB of scratchpad of each core; 64 to 4096"),
        OptionDecl::bool("report", "false", "tell what each region that is compiled takes of the device"),
    ];

    fn open(options: &Options) -> Result<Self> {
        let fault = Arc::new(Fault::of(options)?);
        fault.in_open();
        let whole = |name: &str, range: RangeInclusive<i64>| {
            let value = options.int(name)?;
            let refuse = || {
                Error::invalid(format!(
                    "option `{name}` is {} to {}, not {value}",
                    range.start(),
                    range.end()
                ))
            };
            if range.contains(&value) { Ok(value as usize) } else { Err(refuse()) }
        };
        let device = Device {
            scratchpad_bytes: whole("scratchpad_kib", SCRATCHPAD_KIB)? * 1024,
            cores: whole("cores", CORES)?,
        };
        let codegen = codegen::Options { double_buffer: options.bool("double_buffer")?, device };
        Ok(Refnpu { codegen, fault, report: options.bool("report")? })
    }

    fn check_match(&self, region: &Region<'_>, _: &MatchContext<'_>) -> Result<()> {
        match region::refusals(region).into_iter().next() {
            Some((_, error)) if !self.fault.claims_all() => Err(error),
            _ => Ok(()),
        }
    }

    /// The cost is that of the very code that would run.
    fn check_region(&self, region: &Region<'_>, _: &CheckContext<'_>) -> Result<RegionAnswer> {
        if self.fault.claims_all() {
            return Ok(RegionAnswer::default());
        }
        let mut refused = Vec::new();
        for (composite, error) in region::refusals(region) {
            let nodes = &region.composites[composite].nodes;
            refused.extend(nodes.iter().map(|&node| (node, error.message.clone())));
        }
        if !refused.is_empty() {
            return Ok(RegionAnswer { refused, ..RegionAnswer::default() });
        }
        match lower(&region::import(region)?, self.codegen) {
            Ok(program) => {
                let counters = program.time().map_err(|error| Error::internal(error.to_string()))?;
                let compute_us = microseconds(counters.cycles) * batch(region) as f64;
                Ok(RegionAnswer { fixed_us: Some(0.0), compute_us: Some(compute_us), refused })
            }
            Err(LowerError::Scratchpad { layer, what }) => {
                let reason = format!("{what} does not fit the scratchpad");
                let guilty = region.composites.iter().filter(|composite| {
                    composite.nodes.iter().max().is_some_and(|&node| region.node(node).name == layer)
                });
                let nodes =
                    guilty.flat_map(|composite| composite.nodes.iter().map(|&node| (node, reason.clone())));
                Ok(RegionAnswer { refused: nodes.collect(), ..RegionAnswer::default() })
            }
            Err(error @ LowerError::Memory) => Err(Error::unsupported(error.to_string())),
        }
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let mut network = region::import(region)?;
        self.fault.in_compile(region, &mut network)?;
        let program = lower(&network, self.codegen).map_err(|error| Error::unsupported(error.to_string()))?;
        if self.report {
            let counters = program.time().map_err(|error| Error::internal(error.to_string()))?;
            let line = report(region.name, &counters, network.macs(), &self.codegen.device);
            context.call.host().log(LogLevel::Info, &line);
        }
        // The program holds all constants, packed.
        (0..region.constants.len()).for_each(|constant| context.release_constant(constant));
        Ok(Box::new(Compiled::new(program, self.fault.clone())))
    }

    fn load(&self, artefact: &[u8], _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let program = Program::from_bytes(artefact).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(Box::new(Compiled::new(program, self.fault.clone())))
    }

    fn check_artefact(&self, compatibility: &str) -> ArtefactAnswer {
        match compatibility.strip_prefix(FAMILY) {
            Some(rest) if rest == compatible(&self.codegen.device) => ArtefactAnswer::Best,
            Some(_) => ArtefactAnswer::Recompile,
            None => ArtefactAnswer::Foreign,
        }
    }
}

/// What compatibility strings begin with; the artefact's version and the device follow.
const FAMILY: &str = "refnpu-";

fn compatible(device: &Device) -> String {
    format!("{VERSION}-{}x{}", device.cores, device.scratchpad_bytes)
}

/// What one image of a region takes of the device. `wanted`: multiply-accumulates that the layers are made of.
fn report(region: &str, counters: &Counters, wanted: u64, device: &Device) -> String {
    let per_mac = if wanted == 0 { 0.0 } else { counters.cycles as f64 / wanted as f64 };
    format!(
        "{region}: {} cycles an image, {per_mac:.6} a multiply-accumulate ({:.1} % of the array), {} of {} bytes of \
         scratchpad, {} bytes loaded, {} stored",
        counters.cycles,
        100.0 * counters.utilisation(wanted, device.cores),
        counters.scratchpad_used,
        device.scratchpad_bytes,
        counters.bytes_loaded,
        counters.bytes_stored,
    )
}

/// How many images a run is likely to have.
fn batch(region: &Region<'_>) -> u64 {
    let first = region.inputs.first().and_then(|&input| region.value(input).dims.as_ref()?.first().copied());
    match first {
        Some(Dim::Known(size)) => size as u64,
        Some(Dim::Symbol(symbol)) => {
            region.symbols.get(symbol).and_then(|symbol| u64::try_from(symbol.likely).ok()).unwrap_or(1)
        }
        _ => 1,
    }
}

fn microseconds(cycles: u64) -> f64 {
    cycles as f64 * 1e6 / CLOCK_HZ as f64
}

struct Compiled {
    program: Program,
    /// Cycles of the last execution.
    cycles: AtomicU64,
    fault: Arc<Fault>,
}

impl Compiled {
    fn new(program: Program, fault: Arc<Fault>) -> Self {
        Compiled { program, cycles: AtomicU64::new(0), fault }
    }

    /// The batch that all inputs have in common.
    fn batch(&self, inputs: &[TensorView<'_>]) -> Result<usize> {
        if inputs.len() != self.program.inputs.len() {
            return Err(Error::invalid(format!(
                "{} inputs given, {} wanted",
                inputs.len(),
                self.program.inputs.len()
            )));
        }
        let mut common = None;
        for (input, port) in inputs.iter().zip(&self.program.inputs) {
            let dims: Vec<usize> = input.info.shape.iter().map(|&size| size as usize).collect();
            let batch = dims.first().copied().unwrap_or(0);
            if dims != port.dims(batch) || *common.get_or_insert(batch) != batch {
                return Err(Error::invalid(format!(
                    "an input of shape {dims:?}; the code was made for {:?} and one batch for all",
                    port.dims(common.unwrap_or(batch))
                )));
            }
        }
        common.ok_or_else(|| Error::invalid("a region without inputs"))
    }
}

impl Executable for Compiled {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        self.fault.in_execute();
        let batch = self.batch(inputs)?;
        let given = inputs.iter().map(TensorView::bytes).collect::<Result<Vec<_>>>()?;
        let mut made = Vec::new();
        for (output, port) in outputs.iter_mut().zip(&self.program.outputs) {
            if output.is_pending() {
                output.allocate(&port.dims(batch))?;
            }
            made.push(output.bytes_mut()?);
        }
        let sizes = given.iter().map(|bytes| bytes.len()).chain(made.iter().map(|bytes| bytes.len()));
        let ports = self.program.inputs.iter().chain(&self.program.outputs);
        if !sizes.eq(ports.map(|port| batch * port.dense_bytes())) {
            return Err(Error::invalid("a tensor has more or fewer bytes than its shape says"));
        }
        let call = context.call;
        let mut run = |state: &mut Context| self.program.run(state, &given, &mut made, batch);
        let counters = match context.state::<Context>() {
            Some(state) => run(state),
            None => run(&mut self.program.context()),
        };
        let counters = counters.map_err(|error| Error::internal(error.to_string()))?;
        self.cycles.store(counters.cycles, Ordering::Relaxed);
        call.host().log(LogLevel::Debug, &format!("{batch} images: {counters}"));
        Ok(())
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        let batch = self.batch(inputs)?;
        Ok(Some(self.program.outputs.iter().map(|port| port.dims(batch)).collect()))
    }

    fn serialise(&self) -> Result<Artefact> {
        Ok(Artefact {
            bytes: self.program.to_bytes(),
            compatibility: format!("{FAMILY}{}", compatible(&self.program.device)),
        })
    }

    fn device_time(&self) -> Option<Duration> {
        let cycles = self.cycles.load(Ordering::Relaxed);
        (cycles > 0)
            .then(|| Duration::from_nanos((cycles as u128 * 1_000_000_000 / u128::from(CLOCK_HZ)) as u64))
    }

    fn new_context(&self) -> Result<Box<dyn Any + Send>> {
        Ok(Box::new(self.program.context()))
    }
}
