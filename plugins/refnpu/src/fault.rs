//! Faults on request: what a host does about a vendor's failure can be tried with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use byoc_plugin::{Error, OptionDecl, Options, Region, Result};

use crate::layer::{Layer, Lookup, Network, Op};

pub const OPTIONS: [OptionDecl; 3] = [
    OptionDecl::string(
        "fault",
        "none",
        "what goes wrong: compile_error, compile_hang, compile_crash, execute_crash, execute_hang, wrong_result, \
         leak, slow_load or false_claim",
    ),
    OptionDecl::string(
        "fault_node",
        "",
        "where a result is wrong: a node or an operator; everywhere, if empty",
    ),
    OptionDecl::int("fault_one_in", "1", "one of so many calls goes wrong, at random"),
];

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    None,
    CompileError,
    CompileHang,
    CompileCrash,
    ExecuteCrash,
    ExecuteHang,
    /// A layer's results are shifted by [`SHIFT`] steps.
    WrongResult,
    /// Every compilation and execution forgets [`FORGOTTEN`] bytes.
    Leak,
    /// Opening takes [`SLOW`].
    SlowLoad,
    /// Nothing is refused by a check, whatever the code generator can do.
    FalseClaim,
}

const KINDS: [(&str, Kind); 10] = [
    ("none", Kind::None),
    ("compile_error", Kind::CompileError),
    ("compile_hang", Kind::CompileHang),
    ("compile_crash", Kind::CompileCrash),
    ("execute_crash", Kind::ExecuteCrash),
    ("execute_hang", Kind::ExecuteHang),
    ("wrong_result", Kind::WrongResult),
    ("leak", Kind::Leak),
    ("slow_load", Kind::SlowLoad),
    ("false_claim", Kind::FalseClaim),
];

const SHIFT: i8 = 32;
const FORGOTTEN: usize = 1000;
/// Longer than a host waits that has been told nothing.
const SLOW: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub struct Fault {
    kind: Kind,
    node: String,
    one_in: u64,
    calls: AtomicU64,
}

impl Fault {
    pub fn of(options: &Options) -> Result<Fault> {
        let name = options.get("fault").unwrap_or("none");
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
            return Err(Error::invalid(format!("fault `{name}` is not one of {}", known.join(", "))));
        };
        let one_in = u64::try_from(options.int("fault_one_in")?).ok().filter(|n| *n > 0);
        let one_in = one_in.ok_or_else(|| Error::invalid("fault_one_in must be at least 1"))?;
        let node = options.get("fault_node").unwrap_or_default().to_owned();
        Ok(Fault { kind: *kind, node, one_in, calls: AtomicU64::new(0) })
    }

    /// Whether it is this fault, and this call's turn.
    fn is(&self, kind: Kind) -> bool {
        if self.kind != kind {
            return false;
        }
        // Scattered over calls, and otherwise in each process.
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1 + u64::from(std::process::id()) * 7919;
        (call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(self.one_in)
    }

    pub fn in_open(&self) {
        if self.is(Kind::SlowLoad) {
            std::thread::sleep(SLOW);
        }
    }

    /// Whether checks refuse nothing.
    pub fn claims_all(&self) -> bool {
        self.kind == Kind::FalseClaim
    }

    pub fn in_compile(&self, region: &Region<'_>, network: &mut Network) -> Result<()> {
        match self.kind {
            Kind::CompileError if self.is(Kind::CompileError) => {
                Err(Error::internal("told to compile nothing"))
            }
            Kind::WrongResult if self.is(Kind::WrongResult) => {
                self.spoil(region, network);
                Ok(())
            }
            _ => {
                self.fail(Kind::CompileCrash, Kind::CompileHang);
                Ok(())
            }
        }
    }

    pub fn in_execute(&self) {
        self.fail(Kind::ExecuteCrash, Kind::ExecuteHang);
    }

    fn fail(&self, crash: Kind, hang: Kind) {
        if self.is(crash) {
            std::process::abort();
        }
        if self.is(hang) {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        if self.is(Kind::Leak) {
            std::mem::forget(std::hint::black_box(vec![1u8; FORGOTTEN]));
        }
    }

    /// Shifts the results of the layers that are meant, each by a layer behind it.
    fn spoil(&self, region: &Region<'_>, network: &mut Network) {
        let layers = std::mem::take(&mut network.layers);
        for (index, layer) in layers.iter().enumerate() {
            // A composite may be several layers; its result is made by the last.
            let is_last = layers.get(index + 1).is_none_or(|next| next.name != layer.name);
            if !is_last || !self.means(region, &layer.name) {
                network.layers.push(layer.clone());
                continue;
            }
            let right = network.tensors.len();
            network.tensors.push(network.tensors[layer.output]);
            network.layers.push(Layer { output: right, ..layer.clone() });
            let op = Op::Lookup(Lookup { tables: vec![Lookup::table(|q| q.wrapping_add(SHIFT))] });
            network.layers.push(Layer { op, inputs: vec![right], ..layer.clone() });
        }
    }

    /// Whether a result is to be wrong at the composite whose last node has this name.
    fn means(&self, region: &Region<'_>, root: &str) -> bool {
        let nodes = |last: usize| {
            let composites = region.composites.iter().filter(move |c| c.nodes.iter().max() == Some(&last));
            composites.flat_map(|composite| composite.nodes.iter().map(|&node| region.node(node)))
        };
        let is_meant = |last: usize| nodes(last).any(|node| node.name == self.node || node.op == self.node);
        self.node.is_empty() || (0..region.nodes.len()).any(|n| region.node(n).name == root && is_meant(n))
    }
}
