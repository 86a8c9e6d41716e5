//! A plugin for tests of the interface: element-wise float32 in host memory, and NonZero for an output whose shape
//! only the plugin can tell. The option `fault` makes one call fail or panic, as `panic:compile`; the option
//! `picky` makes compilation fail by what is in the region.

use std::time::Duration;

use byoc_plugin::{
    Artefact, ArtefactAnswer, CheckContext, CompileContext, Error, Executable, ExecuteContext, LogLevel,
    MatchContext, Node, OptionDecl, OptionKind, Options, Plugin, Region, RegionAnswer, Result, TensorView,
    TensorViewMut,
};

byoc_plugin::export_plugin!(Probe, table = include_str!("table.toml"));

pub struct Probe {
    fault: Fault,
    picky: String,
}

/// Fails where the region is not to the plugin's liking.
fn judge(picky: &str, region: &Region<'_>, context: &CompileContext<'_>) -> Result<()> {
    let named = |part: &str| region.nodes.iter().find(|node| node.name.contains(part));
    match picky.split_once(':').unwrap_or((picky, "")) {
        // The whole region, where a node's name has such a part.
        ("region", part) if named(part).is_some() => Err(Error::unsupported(format!("a region with {part}"))),
        // Only the nodes that are named so.
        ("nodes", part) if named(part).is_some() => {
            for node in region.nodes.iter().filter(|node| node.name.contains(part)) {
                context.call.refuse_node(node.index, &format!("{} is named {part}", node.name))?;
            }
            Err(Error::unsupported("some nodes"))
        }
        // The nodes with the first of two parts; the whole of a region with the second part alone.
        ("then", parts) => {
            let (first, second) = parts.split_once(',').unwrap_or((parts, ""));
            judge(&format!("nodes:{first}"), region, context)?;
            judge(&format!("region:{second}"), region, context)
        }
        // The first node of every region, as long as there is one.
        ("first", _) => {
            context.call.refuse_node(0, "never the first")?;
            Err(Error::unsupported("the first node"))
        }
        _ => Ok(()),
    }
}

/// Where to fail, and how.
#[derive(Clone)]
struct Fault {
    call: String,
    panics: bool,
}

impl Fault {
    fn parse(text: &str) -> Self {
        let (how, call) = text.split_once(':').unwrap_or(("none", ""));
        Fault { call: call.to_owned(), panics: how == "panic" }
    }

    fn at(&self, call: &str) -> Result<()> {
        if self.call != call {
            return Ok(());
        }
        assert!(!self.panics, "told to panic in {call}");
        Err(Error::internal(format!("told to fail in {call}")).retry())
    }
}

impl Plugin for Probe {
    const OPTIONS: &'static [OptionDecl] = &[
        OptionDecl { name: "fault", kind: OptionKind::String, default: "none", help: "call to fail in" },
        OptionDecl {
            name: "own",
            kind: OptionKind::Bool,
            default: "false",
            help: "copy constants and release them",
        },
        OptionDecl {
            name: "picky",
            kind: OptionKind::String,
            default: "none",
            help: "what not to compile: region:PART, nodes:PART, then:PART,PART or first",
        },
        OptionDecl { name: "scale", kind: OptionKind::Float, default: "1", help: "factor of every product" },
    ];

    fn open(options: &Options) -> Result<Self> {
        let fault = Fault::parse(options.get("fault").unwrap_or_default());
        fault.at("open")?;
        Ok(Probe { fault, picky: options.get("picky").unwrap_or_default().to_owned() })
    }

    fn check_match(&self, region: &Region<'_>, _: &MatchContext<'_>) -> Result<()> {
        self.fault.at("check_match")?;
        match region.nodes.iter().find(|node| node.name.contains("unwanted")) {
            Some(node) => {
                Err(Error::unsupported(format!("no {} with such a name", node.op)).at_node(node.index))
            }
            None => Ok(()),
        }
    }

    fn check_region(&self, region: &Region<'_>, context: &CheckContext<'_>) -> Result<RegionAnswer> {
        self.fault.at("check_region")?;
        context.call.host().log(LogLevel::Info, "asked about a region");
        let refused = region.nodes.iter().filter(|node| node.op == "Sub");
        Ok(RegionAnswer {
            fixed_us: Some(2.0),
            compute_us: None,
            refused: refused.map(|node| (node.index, "no Sub here".to_owned())).collect(),
        })
    }

    fn compile(&self, region: &Region<'_>, context: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        self.fault.at("compile")?;
        judge(&self.picky, region, context)?;
        let steps = region.nodes.iter().map(|node| Step::new(region, node)).collect::<Result<Vec<_>>>()?;
        let constants = region.constants.clone();
        let mut owned = vec![None; constants.len()];
        if context.options.bool("own")? {
            for (index, value) in constants.iter().enumerate() {
                owned[index] = region.value(*value).constant_as::<f32>().map(<[f32]>::to_vec);
                context.release_constant(index);
            }
        }
        let scale = context.options.float("scale")? as f32;
        let outputs = region.outputs.clone();
        let program = Program { steps, constants, inputs: region.inputs.clone(), outputs, scale };
        Ok(Box::new(Compiled { program, values: region.values.len(), owned, fault: self.fault.clone() }))
    }

    fn load(&self, artefact: &[u8], _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        self.fault.at("load")?;
        let text = std::str::from_utf8(artefact).map_err(|_| Error::invalid("the artefact is not text"))?;
        let (values, program) =
            Program::parse(text).ok_or_else(|| Error::invalid("the artefact is damaged"))?;
        let owned = vec![None; program.constants.len()];
        Ok(Box::new(Compiled { program, values, owned, fault: self.fault.clone() }))
    }

    fn check_artefact(&self, compatibility: &str) -> ArtefactAnswer {
        if compatibility == COMPATIBILITY { ArtefactAnswer::Best } else { ArtefactAnswer::Foreign }
    }
}

const COMPATIBILITY: &str = "probe-1";

struct Program {
    steps: Vec<Step>,
    /// The region's values that are constants, inputs and outputs.
    constants: Vec<usize>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    scale: f32,
}

struct Step {
    op: Op,
    args: [usize; 2],
    result: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Mul,
    Relu,
    NonZero,
}

const OPS: [(&str, Op, usize); 4] =
    [("Add", Op::Add, 2), ("Mul", Op::Mul, 2), ("Relu", Op::Relu, 1), ("NonZero", Op::NonZero, 1)];

impl Step {
    fn new(region: &Region<'_>, node: &Node<'_>) -> Result<Self> {
        let unsupported = || Error::unsupported(format!("operator {}", node.op)).at_node(node.index);
        let (_, op, arity) = *OPS.iter().find(|(name, ..)| *name == node.op).ok_or_else(unsupported)?;
        let arg = |position: usize| node.inputs.get(position).copied().flatten().ok_or_else(unsupported);
        let shape_of = |value: usize| region.value(value).dims.clone();
        let args = [arg(0)?, if arity == 2 { arg(1)? } else { arg(0)? }];
        if shape_of(args[0]) != shape_of(args[1]) {
            return Err(Error::unsupported("broadcasting").at_node(node.index));
        }
        let result = node.outputs.first().copied().flatten().ok_or_else(unsupported)?;
        Ok(Step { op, args, result })
    }
}

impl Program {
    fn to_text(&self, values: usize) -> String {
        let list = |list: &[usize]| list.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let mut text = format!("{values}\n{}\n", self.scale);
        for part in [&self.constants, &self.inputs, &self.outputs] {
            text += &format!("{}\n", list(part));
        }
        for step in &self.steps {
            text += &format!("{} {} {} {}\n", step.op as usize, step.args[0], step.args[1], step.result);
        }
        text
    }

    fn parse(text: &str) -> Option<(usize, Self)> {
        let mut lines = text.lines();
        let list = |line: &str| {
            line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<usize>>>()
        };
        let values = lines.next()?.parse().ok()?;
        let scale = lines.next()?.parse().ok()?;
        let (constants, inputs, outputs) = (list(lines.next()?)?, list(lines.next()?)?, list(lines.next()?)?);
        let step = |line: &str| {
            let [op, left, right, result] = list(line)?.try_into().ok()?;
            Some(Step { op: OPS.get(op)?.1, args: [left, right], result })
        };
        let steps = lines.map(step).collect::<Option<Vec<_>>>()?;
        Some((values, Program { steps, constants, inputs, outputs, scale }))
    }
}

struct Compiled {
    program: Program,
    values: usize,
    /// Copies of the constants that were released.
    owned: Vec<Option<Vec<f32>>>,
    fault: Fault,
}

impl Executable for Compiled {
    fn execute(
        &self,
        inputs: &[TensorView<'_>],
        outputs: &mut [TensorViewMut<'_>],
        context: &mut ExecuteContext<'_>,
    ) -> Result<()> {
        self.fault.at("execute")?;
        let call = context.call;
        if let Some(count) = context.state::<usize>() {
            *count += 1;
            call.profile_event("execution", *count as u64, *count as u64 + 1)?;
        }
        let program = &self.program;
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); self.values];
        for (value, input) in program.inputs.iter().zip(inputs) {
            values[*value] = input.as_slice::<f32>()?.to_vec();
        }
        for (index, value) in program.constants.iter().enumerate() {
            if let Some(owned) = &self.owned[index] {
                values[*value] = owned.clone();
                continue;
            }
            let bytes = context.constant(index).ok_or_else(|| Error::internal("a constant is gone"))?;
            let floats = bytes
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            values[*value] = floats.collect();
        }
        let mut positions = Vec::new();
        for step in &program.steps {
            let [left, right] = step.args.map(|arg| &values[arg]);
            if step.op == Op::NonZero {
                positions =
                    (0..left.len()).filter(|index| left[*index] != 0.0).map(|index| index as i64).collect();
                continue;
            }
            let compute = |index: usize| match step.op {
                Op::Add => left[index] + right[index],
                Op::Mul => left[index] * right[index] * program.scale,
                Op::Relu | Op::NonZero => left[index].max(0.0),
            };
            let result: Vec<std::sync::atomic::AtomicU32> = left.iter().map(|_| 0.into()).collect();
            call.parallel_for(left.len(), |index| {
                assert!(self.fault.at("loop").is_ok(), "told to panic in a loop");
                result[index].store(compute(index).to_bits(), std::sync::atomic::Ordering::Relaxed);
            })?;
            values[step.result] = result.into_iter().map(|bits| f32::from_bits(bits.into_inner())).collect();
        }
        for (value, output) in program.outputs.iter().zip(outputs) {
            if output.is_pending() {
                output.allocate(&[1, positions.len()])?;
                output.as_mut_slice::<i64>()?.copy_from_slice(&positions);
            } else {
                output.as_mut_slice::<f32>()?.copy_from_slice(&values[*value]);
            }
        }
        self.fault.at("execute_end")
    }

    fn output_shapes(&self, inputs: &[TensorView<'_>]) -> Result<Option<Vec<Vec<usize>>>> {
        if self.program.steps.iter().any(|step| step.op == Op::NonZero) {
            return Ok(None);
        }
        let first = inputs.first().ok_or_else(|| Error::invalid("no input"))?;
        let shape: Vec<usize> = first.info.shape.iter().map(|size| *size as usize).collect();
        Ok(Some(vec![shape; self.program.outputs.len()]))
    }

    fn serialise(&self) -> Result<Artefact> {
        let bytes = self.program.to_text(self.values).into_bytes();
        Ok(Artefact { bytes, compatibility: COMPATIBILITY.to_owned() })
    }

    fn device_time(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.program.steps.len() as u64))
    }

    fn new_context(&self) -> Result<Box<dyn std::any::Any + Send>> {
        self.fault.at("new_context")?;
        Ok(Box::new(0usize))
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        let _ = self.fault.at("destroy");
    }
}
