//! Puts into words why a node stays on the host, and what else came near one that does not.

use byoc_graph::ValueId;
use byoc_plugin::table::Constness;

use crate::attribute;
use crate::matcher::{MAX_STEPS, Why};
use crate::misses::{Cause, Miss, Misses};
use crate::program::{ArgKind, CallId, Program, Programs};
use crate::refusal::{Refusal, Taken};
use crate::report::{Ahead, Kind, Reason, Rival};
use crate::view::{View, is_outlined};

/// At least one reason for each vendor, the nearest miss first.
pub fn reasons(view: &View<'_>, programs: &Programs, misses: &Misses, place: u32) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for vendor in 0..programs.vendors.len() {
        let before = reasons.len();
        let known = misses.of(vendor, place).into_iter();
        reasons.extend(known.filter_map(|m| words(view, programs, misses, vendor, m)));
        if reasons.len() == before {
            reasons.push(unmatched(view, programs, vendor, place));
        }
    }
    reasons
}

/// For a node that a composite of the pattern `taker` has: what else was considered, and every other vendor's
/// reason. The taker's own other tries say nothing that its success does not.
pub fn rivals(
    view: &View<'_>,
    programs: &Programs,
    misses: &Misses,
    place: u32,
    taker: usize,
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for vendor in 0..programs.vendors.len() {
        let before = reasons.len();
        let others = misses.all(vendor, place).into_iter().filter(|m| m.program != Some(taker as u32));
        reasons.extend(others.filter_map(|m| words(view, programs, misses, vendor, m)));
        if reasons.len() == before && vendor != programs.all[taker].vendor {
            reasons.push(unmatched(view, programs, vendor, place));
        }
    }
    reasons
}

fn words(
    view: &View<'_>,
    programs: &Programs,
    misses: &Misses,
    vendor: usize,
    miss: &Miss,
) -> Option<Reason> {
    let program = miss.program.map(|p| &programs.all[p as usize]);
    let (kind, detail) = match (&miss.cause, program) {
        (Cause::Told(kind, detail), _) => (*kind, detail.to_string()),
        (Cause::Refused(refusal), _) => (refusal.kind(), refusal.words(view, programs)),
        (Cause::Search(why), Some(program)) => describe(view, programs, program, why),
        (Cause::Search(_), None) => return None,
    };
    let pattern = program.map(|p| p.name.as_str());
    let mut reason = Reason::new(&programs.vendors[vendor].name, pattern, kind, detail);
    if let Cause::Refused(refusal) = &miss.cause
        && let Refusal::Taken(taken) = &**refusal
    {
        reason.rival = Some(rival(view, programs, misses, taken));
    }
    Some(reason)
}

fn rival(view: &View<'_>, programs: &Programs, misses: &Misses, taken: &Taken) -> Rival {
    let program = &programs.all[taken.program];
    let ahead = match taken {
        Taken { forced: true, .. } => Ahead::Forced,
        _ if misses.by_cost => Ahead::Cost,
        Taken { same: true, .. } => Ahead::SamePattern,
        Taken { priority, .. } => Ahead::Priority(*priority),
    };
    Rival {
        vendor: programs.vendors[program.vendor].name.clone(),
        pattern: program.name.clone(),
        root: view.label(taken.root).to_owned(),
        node: view.label(taken.node).to_owned(),
        ahead,
        besides: taken.besides.as_ref().map(|r| (r.kind(), r.words(view, programs))),
    }
}

/// For a node that no search has got to.
fn unmatched(view: &View<'_>, programs: &Programs, vendor: usize, place: u32) -> Reason {
    let node = view.node(place);
    let mention = view.units[place as usize].symbol.and_then(|s| programs.mention(vendor, s));
    let pattern = mention.map(|p| programs.all[p].name.clone());
    let (kind, detail) = match &pattern {
        _ if is_outlined(node) => {
            (Kind::NoPattern, "it calls a region of an earlier partition, which stays as it is".to_owned())
        }
        Some(pattern) => {
            let op = &node.op.name;
            let root = mention.and_then(|p| root(&programs.all[p])).filter(|root| *root != &**op);
            let detail = match root {
                Some(root) => format!("`{pattern}` has {op}, but ends in {root}; {}", next(view, place)),
                None => format!("`{pattern}` has {op}, but no match of it reaches this node"),
            };
            (Kind::Structure, detail)
        }
        None => (Kind::NoPattern, format!("no pattern begins or continues with {}", node.op.name)),
    };
    Reason::new(&programs.vendors[vendor].name, pattern.as_deref(), kind, detail)
}

/// Where what a node makes goes.
fn next(view: &View<'_>, place: u32) -> String {
    let outputs = view.node(place).outputs().iter().flatten();
    let mut ops: Vec<&str> = Vec::new();
    for user in outputs.clone().flat_map(|v| view.users(*v)) {
        let op = &*view.node(user).op.name;
        if !ops.contains(&op) {
            ops.push(op);
        }
    }
    match &ops[..] {
        [] if outputs.clone().any(|v| view.is_output(*v)) => {
            "what it makes is an output of the graph".to_owned()
        }
        [] => "nobody uses what it makes".to_owned(),
        [ops @ .., last] if !ops.is_empty() => format!("what it makes goes to {} and {last}", ops.join(", ")),
        [op, ..] => format!("what it makes goes to {op}"),
    }
}

/// The operator that the pattern's root is written with.
fn root(program: &Program) -> Option<&str> {
    let call = *program.statements.last()?.alternatives.first()?;
    Some(&program.calls[call].written)
}

fn describe(view: &View<'_>, programs: &Programs, program: &Program, why: &Why) -> (Kind, String) {
    let words = Words { view, program };
    let structure = |text: String| (Kind::Structure, text);
    match *why {
        Why::Maker { call, value } => structure(format!(
            "{} is wanted where `{}` is, {}",
            words.call(call),
            words.value(value),
            words.maker(value)
        )),
        Why::Output { call, value } => structure(format!(
            "`{}` is another output of its {} than the pattern names",
            words.value(value),
            words.call(call)
        )),
        Why::Missing { call, arg, unit } => {
            structure(format!("`{}` has no input {arg} ({})", words.unit(unit), words.arg(call, arg)))
        }
        Why::TooMany { call, unit } => structure(format!(
            "`{}` has more inputs than the {} that the pattern gives {}",
            words.unit(unit),
            program.calls[call].args.len(),
            words.call(call)
        )),
        Why::NoOutput { unit, output, .. } => {
            structure(format!("`{}` has no output {output}", words.unit(unit)))
        }
        Why::Const { name, value, wanted } => {
            let name = name.map_or("_", |n| program.names[n].as_str());
            let (wanted, is) = match wanted {
                Constness::Const => ("const", "is not a constant"),
                _ => ("input", "is a constant"),
            };
            structure(format!("`{name}: {wanted}` is wanted, but `{}` {is}", words.value(value)))
        }
        Why::Differs { name, value } => structure(format!(
            "`{}` would stand for two values, `{}` among them",
            program.names[name],
            words.value(value)
        )),
        Why::Twice { call, unit } => structure(format!(
            "{} would match `{}`, which another statement matches",
            words.call(call),
            words.unit(unit)
        )),
        Why::Inside { value } => {
            structure(format!("a leaf would be `{}`, which is made inside the match", words.value(value)))
        }
        Why::Unreached { statement } => {
            let call = program.statements[statement].alternatives[0];
            structure(format!("no {} uses the values that the match has", words.call(call)))
        }
        Why::Attribute { call, unit, attribute } => (Kind::Attribute, words.attribute(call, unit, attribute)),
        Why::Opset { unit, .. } => structure(words.opset(programs, unit)),
        Why::Steps => (Kind::Limit, format!("the search was given up after {MAX_STEPS} steps")),
    }
}

struct Words<'a, 'g> {
    view: &'a View<'g>,
    program: &'a Program,
}

impl<'g> Words<'_, 'g> {
    fn value(&self, value: ValueId) -> &'g str {
        self.view.value_name(value)
    }

    /// The name of the unit's last node.
    fn unit(&self, unit: u32) -> &'g str {
        let nodes = self.view.units.get(unit as usize).map(|u| &u.nodes);
        nodes.and_then(|n| n.last()).map_or("", |n| self.view.label(*n))
    }

    fn call(&self, call: CallId) -> &str {
        match &self.program.calls[call].ops {
            None => "some operator",
            Some(_) => &self.program.calls[call].written,
        }
    }

    fn arg(&self, call: CallId, arg: usize) -> String {
        match self.program.calls[call].args[arg].kind {
            ArgKind::Name(name) => format!("`{}`", self.program.names[name]),
            ArgKind::Any => "`_`".to_owned(),
            ArgKind::Call(inner) => self.call(inner).to_owned(),
        }
    }

    fn maker(&self, value: ValueId) -> String {
        match self.view.producer(value) {
            Some(place) => format!("which {} makes", self.view.node(place).op.name),
            None if self.view.graph.is_constant(value) => "which is a constant".to_owned(),
            None => "which comes into the graph".to_owned(),
        }
    }

    fn attribute(&self, call: CallId, unit: u32, attribute: usize) -> String {
        let (name, wanted) = &self.program.calls[call].attributes[attribute];
        let is = self.view.units[unit as usize].attribute(name);
        let is = is.map_or("absent".to_owned(), |attr| attribute::show(&attr));
        format!("{name} of `{}` is {is}, not {}", self.unit(unit), attribute::show_literal(wanted))
    }

    fn opset(&self, programs: &Programs, unit: u32) -> String {
        let found = &self.view.units[unit as usize];
        let wanted = programs.vendors[self.program.vendor].opset.get(found.domain).copied().unwrap_or(0);
        let (op, own) = (found.op, found.opset);
        format!("`{}` is {op} of opset {own}, which differs from {op} of opset {wanted}", self.unit(unit))
    }
}
