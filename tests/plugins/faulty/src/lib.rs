//! A plugin that computes sums and negatives, and that ends, hangs or eats its process where it is told to: by the
//! options `how`, `at` and `one_in`, or while it is loaded by the variable `BYOC_FAULTY_LOAD`. It does what `refnpu`,
//! which has faults of its own, would not survive as an example: any way to end, at any call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use byoc_plugin::{
    Artefact, ArtefactAnswer, CheckContext, CompileContext, Error, Executable, ExecuteContext, OptionDecl,
    OptionKind, Options, Plugin, Region, RegionAnswer, Result, TensorView, TensorViewMut,
};

byoc_plugin::export_plugin!(Faulty, table = include_str!("table.toml"));

/// Runs while the library is loaded, before anybody has asked it for anything.
#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

extern "C" fn on_load() {
    if let Ok(how) = std::env::var("BYOC_FAULTY_LOAD") {
        fail(&how);
    }
}

fn fail(how: &str) {
    match how {
        "abort" => std::process::abort(),
        "segv" => {
            // SAFETY: none; that is the point.
            unsafe { std::ptr::null_mut::<u32>().write_volatile(1) };
        }
        "exit" => std::process::exit(3),
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "overflow" => println!("{}", descend(1)),
        "eat" => eat(),
        "panic" => panic!("told to panic"),
        "speak" => eprintln!("told to speak"),
        "write" | "connect" | "start" => reach(how),
        _ => {}
    }
}

/// Does what a filter may deny.
fn reach(how: &str) {
    let done = match how {
        "write" => std::env::var("BYOC_FAULTY_FILE").map_or(Ok(()), |path| std::fs::write(path, "told to")),
        "connect" => std::net::UdpSocket::bind("127.0.0.1:0").map(drop),
        _ => std::process::Command::new("/bin/true").status().map(drop),
    };
    done.unwrap_or_else(|error| panic!("{how}: {error}"));
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn descend(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    descend(depth + 1) + page[depth as usize % 512]
}

fn eat() {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(vec![1; 8 << 20]);
        std::hint::black_box(&eaten);
    }
}

/// Less than any tolerance, and another in every run.
fn drift() -> f32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.subsec_nanos() % 97) as f32 * 1e-7
}

/// What goes wrong, where, and how often.
#[derive(Clone)]
struct Fault {
    how: String,
    at: String,
    one_in: u64,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

impl Fault {
    fn at(&self, call: &str) {
        if self.at != call {
            return;
        }
        // Calls of one process, scattered by its number.
        let call = CALLS.fetch_add(1, Ordering::Relaxed) + 1 + u64::from(std::process::id()) * 7919;
        let scattered = call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        if scattered.is_multiple_of(self.one_in) {
            fail(&self.how);
        }
    }
}

pub struct Faulty {
    fault: Fault,
}

impl Plugin for Faulty {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl {
            name: "how",
            kind: OptionKind::String,
            default: "none",
            help: "what happens: abort, segv, exit, hang, overflow, eat, panic, speak, drift, write, connect or start",
        },
        OptionDecl {
            name: "at",
            kind: OptionKind::String,
            default: "execute",
            help: "where: open, check, compile, load, execute or close",
        },
        OptionDecl { name: "one_in", kind: OptionKind::Int, default: "1", help: "one of so many calls" },
    ];

    fn open(options: &Options) -> Result<Self> {
        let text = |name: &str| options.get(name).unwrap_or_default().to_owned();
        let one_in = options.int("one_in")?.max(1).unsigned_abs();
        let fault = Fault { how: text("how"), at: text("at"), one_in };
        fault.at("open");
        Ok(Faulty { fault })
    }

    fn check_region(&self, _: &Region<'_>, _: &CheckContext<'_>) -> Result<RegionAnswer> {
        self.fault.at("check");
        Ok(RegionAnswer::default())
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        self.fault.at("compile");
        let index = |value: &Option<usize>| value.unwrap_or(usize::MAX);
        let steps = region.nodes.iter().map(|node| {
            (node.inputs.iter().map(index).collect::<Vec<_>>(), node.outputs.first().map_or(0, index))
        });
        let constants = region
            .constants
            .iter()
            .filter_map(|value| Some((*value, region.value(*value).constant_as::<f32>()?.to_vec())));
        let constants = constants.collect();
        let program = Program {
            fault: self.fault.clone(),
            values: region.values.len(),
            steps: steps.collect(),
            constants,
            inputs: region.inputs.clone(),
            outputs: region.outputs.clone(),
        };
        Ok(Box::new(program))
    }

    fn load(&self, artefact: &[u8], _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        self.fault.at("load");
        Err(Error::invalid(format!("{} bytes that it has not made", artefact.len())))
    }

    fn check_artefact(&self, _: &str) -> ArtefactAnswer {
        ArtefactAnswer::Best
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.fault.at("close");
    }
}

struct Program {
    fault: Fault,
    values: usize,
    /// Inputs and output of each node: a sum has two inputs, a negative one.
    steps: Vec<(Vec<usize>, usize)>,
    constants: Vec<(usize, Vec<f32>)>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

impl Executable for Program {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        _: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        self.fault.at("execute");
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.values];
        for (value, content) in &self.constants {
            values[*value].clone_from(content);
        }
        for (value, input) in self.inputs.iter().zip(inputs) {
            values[*value] = input.as_slice::<f32>()?.to_vec();
        }
        for (from, to) in &self.steps {
            values[*to] = match from.as_slice() {
                [a, b] => values[*a].iter().zip(&values[*b]).map(|(a, b)| a + b).collect(),
                [x] => values[*x].iter().map(|x| -x).collect(),
                _ => return Err(Error::internal("a node that was never compiled")),
            };
        }
        for (value, output) in self.outputs.iter().zip(outputs) {
            let output = output.as_mut_slice::<f32>()?;
            output.copy_from_slice(&values[*value]);
            if self.fault.how == "drift"
                && let Some(first) = output.first_mut()
            {
                *first += drift();
            }
        }
        Ok(())
    }

    fn serialise(&self) -> Result<Artefact> {
        Ok(Artefact { bytes: b"faulty".to_vec(), compatibility: "faulty-1".to_owned() })
    }
}
