//! A plugin for tests of policies: Add, Mul and Relu on float32 of one shape, in host memory, at a pace that an
//! option sets by operator. The folders `a`, `b` and `c` make three vendors of it.
//!
//! It stands for a device: the work takes as long as the pace says, and that is the device time it tells.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use byoc_plugin::{
    CompileContext, Error, Executable, ExecuteContext, Node, OptionDecl, OptionKind, Options, Plugin, Region,
    Result, TensorView, TensorViewMut, ThreadPolicy,
};

byoc_plugin::export_plugin!(Paced, table = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/table.toml")));

pub struct Paced {
    /// Held while the device works: it does one thing at a time.
    device: Arc<Mutex<()>>,
    begun: Option<PathBuf>,
    awaits: Option<PathBuf>,
}

type Compute = fn(f32, f32) -> f32;

/// By operator: the option that sets its pace, what it computes, and how many inputs it has.
const OPERATORS: [(&str, &str, Compute, usize); 3] = [
    ("Add", "add", |a, b| a + b, 2),
    ("Mul", "mul", |a, b| a * b, 2),
    ("Relu", "relu", |a, _| a.max(0.0), 1),
];

const fn pace(name: &'static str) -> OptionDecl {
    OptionDecl { name, kind: OptionKind::Int, default: "100", help: "picoseconds an element" }
}

impl Plugin for Paced {
    const OPTIONS: &'static [OptionDecl] = &[
        pace("add"),
        pace("mul"),
        pace("relu"),
        OptionDecl::string("begun", "", "a file that is made when an execution begins"),
        OptionDecl::string("awaits", "", "a file that an execution waits for"),
    ];
    /// The thread that stands for the device.
    const THREADS: ThreadPolicy = ThreadPolicy::Own(1);

    fn open(options: &Options) -> Result<Self> {
        let file = |name| options.get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Paced { device: Arc::default(), begun: file("begun"), awaits: file("awaits") })
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        let steps = region.nodes.iter().map(|node| Step::new(region, node, context));
        Ok(Box::new(Program {
            steps: steps.collect::<Result<Vec<_>>>()?,
            values: region.values.len(),
            constants: region.constants.clone(),
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
            last_ns: AtomicU64::new(0),
            device: self.device.clone(),
            begun: self.begun.clone(),
            awaits: self.awaits.clone(),
        }))
    }
}

struct Step {
    compute: Compute,
    args: [usize; 2],
    result: usize,
    picoseconds: u64,
}

impl Step {
    fn new(region: &Region<'_>, node: &Node<'_>, context: &CompileContext<'_>) -> Result<Step> {
        let unsupported = |what: &str| Error::unsupported(what.to_owned()).at_node(node.index);
        let operator = OPERATORS.iter().find(|(op, ..)| *op == node.op);
        let &(_, option, compute, arity) = operator.ok_or_else(|| unsupported("this operator"))?;
        let arg = |i: usize| node.inputs.get(i).copied().flatten().ok_or_else(|| unsupported("no input"));
        let args = [arg(0)?, arg(arity - 1)?];
        if region.value(args[0]).dims != region.value(args[1]).dims {
            return Err(unsupported("broadcasting"));
        }
        let result = node.outputs.first().copied().flatten().ok_or_else(|| unsupported("no output"))?;
        let picoseconds = u64::try_from(context.options.int(option)?);
        let picoseconds = picoseconds.map_err(|_| Error::invalid(format!("a negative pace of {option}")))?;
        Ok(Step { compute, args, result, picoseconds })
    }
}

/// Steps over the region's values, by their indices.
struct Program {
    steps: Vec<Step>,
    values: usize,
    constants: Vec<usize>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// Device time of the last execution.
    last_ns: AtomicU64,
    device: Arc<Mutex<()>>,
    begun: Option<PathBuf>,
    awaits: Option<PathBuf>,
}

/// How long an execution waits for a file.
const PATIENCE: Duration = Duration::from_secs(20);

impl Program {
    /// Tells that an execution has begun, and waits for another.
    fn meet(&self) -> Result<()> {
        let failed = |path: &Path, what: &str| Error::internal(format!("{}: {what}", path.display()));
        if let Some(path) = &self.begun {
            std::fs::write(path, "").map_err(|error| failed(path, &error.to_string()))?;
        }
        let Some(path) = &self.awaits else { return Ok(()) };
        let start = Instant::now();
        while !path.exists() {
            if start.elapsed() > PATIENCE {
                return Err(failed(path, "nobody has made it"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        let _turn = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        self.meet()?;
        let start = Instant::now();
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.values];
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = input.as_slice::<f32>()?.to_vec();
        }
        for (index, value) in self.constants.iter().enumerate() {
            let bytes = context.constant(index).ok_or_else(|| Error::internal("a constant is gone"))?;
            let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            values[*value] = floats.collect();
        }
        let mut picoseconds = 0u64;
        for step in &self.steps {
            let [left, right] = step.args.map(|arg| &values[arg]);
            let result: Vec<f32> = left.iter().zip(right).map(|(a, b)| (step.compute)(*a, *b)).collect();
            picoseconds = picoseconds.saturating_add(step.picoseconds.saturating_mul(result.len() as u64));
            values[step.result] = result;
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            output.as_mut_slice::<f32>()?.copy_from_slice(&values[*value]);
        }
        let device = Duration::from_nanos(picoseconds / 1000);
        std::thread::sleep(device.saturating_sub(start.elapsed()));
        self.last_ns.store(picoseconds / 1000, Ordering::Relaxed);
        Ok(())
    }

    fn device_time(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.last_ns.load(Ordering::Relaxed)))
    }
}
