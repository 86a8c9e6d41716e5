//! Finds every way in which a pattern matches with a given node as its root.
//!
//! A backtracking search over explicit goals: each goal either binds something or offers moves, and moves that
//! were not taken are kept on a stack with what to undo. Nothing recurses, so long chains are no danger. Ways
//! come in the order that the pattern language promises: what is written first, present before absent, longest
//! chain first, written operand order first. The failure that had bound most nodes is kept as the nearest miss.

use std::ops::ControlFlow;

use byoc_graph::ValueId;
use byoc_plugin::table::{Constness, Quantifier};
use smallvec::SmallVec;

use crate::attribute;
use crate::program::{ArgKind, Call, CallId, NameId, Program, Programs};
use crate::view::{Unit, View};

/// Moves that one search may try.
pub const MAX_STEPS: usize = 10_000;

/// One way in which a pattern matches.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// Units in the order in which they were matched; the root is first.
    pub units: SmallVec<[u32; 4]>,
    /// Places of all nodes that the units cover, in model order.
    pub nodes: SmallVec<[u32; 4]>,
    /// By name of the pattern.
    pub names: SmallVec<[Option<ValueId>; 6]>,
}

/// Why a search went no further. Calls and arguments are those of the pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The value's maker is no such operator, or nothing makes it.
    Maker {
        call: CallId,
        value: ValueId,
    },
    /// The value is another output of its maker.
    Output {
        call: CallId,
        value: ValueId,
    },
    /// The input is missing, there are too many, or an output is.
    Missing {
        call: CallId,
        arg: usize,
        unit: u32,
    },
    TooMany {
        call: CallId,
        unit: u32,
    },
    NoOutput {
        call: CallId,
        unit: u32,
        output: usize,
    },
    Const {
        name: Option<NameId>,
        value: ValueId,
        wanted: Constness,
    },
    /// The name stands for another value already.
    Differs {
        name: NameId,
        value: ValueId,
    },
    /// Two statements would match one node.
    Twice {
        call: CallId,
        unit: u32,
    },
    /// A leaf would be a value made inside the match.
    Inside {
        value: ValueId,
    },
    Attribute {
        call: CallId,
        unit: u32,
        attribute: usize,
    },
    Opset {
        call: CallId,
        unit: u32,
    },
    /// No node fits a statement that is reached through its inputs.
    Unreached {
        statement: usize,
    },
    /// The search was given up.
    Steps,
}

/// The failure of a search that had bound most nodes.
#[derive(Debug, Clone)]
pub struct NearestMiss {
    pub why: Why,
    pub units: SmallVec<[u32; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Target {
    Statement(usize),
    /// A nested call.
    Call,
}

#[derive(Debug, Clone, Copy)]
enum Goal {
    /// The argument of a call has to match this input of its node.
    Input { call: CallId, arg: usize, unit: u32, value: Option<ValueId>, only: Option<u32> },
    /// The value has to be made by a node of the statement; where `only` is given, by that unit.
    Statement { statement: usize, value: ValueId, output: usize, only: Option<u32> },
    /// The value has to be made by a node of the nested call.
    Nested { call: CallId, value: ValueId, only: Option<u32> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Move {
    target: Target,
    call: CallId,
    kind: MoveKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum MoveKind {
    Node {
        unit: u32,
        swapped: bool,
    },
    /// The optional node is not there: the value is its input and its output.
    Absent {
        value: ValueId,
        only: Option<u32>,
    },
    /// A chain of nodes that ends at `link`.
    Chain {
        link: usize,
        output: ValueId,
        input: ValueId,
    },
}

/// One node of a chain, behind the node at `before`.
#[derive(Debug, Clone, Copy)]
struct Link {
    unit: u32,
    before: Option<usize>,
    depth: usize,
    /// The value at the far end of the chain.
    value: ValueId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Binding {
    Free,
    Missing,
    Value(ValueId),
}

#[derive(Debug, Clone, Copy)]
enum Undo {
    Name(NameId),
    Statement(usize),
    Unit,
    Leaf,
}

/// A place to come back to.
struct Choice {
    moves: SmallVec<[Move; 4]>,
    next: usize,
    goals: Option<usize>,
    goals_len: usize,
    trail_len: usize,
}

enum Step {
    Bound,
    Moves(SmallVec<[Move; 4]>),
    Solved,
}

/// A searcher with memory that is kept from search to search.
pub struct Matcher<'v, 'g> {
    view: &'v View<'g>,
    programs: &'v Programs,
    program: &'v Program,
    names: Vec<Binding>,
    done: Vec<bool>,
    units: Vec<u32>,
    leaves: Vec<ValueId>,
    /// Open goals: a list that shares its tails with the choices.
    goals: Vec<(Goal, Option<usize>)>,
    first_goal: Option<usize>,
    links: Vec<Link>,
    trail: Vec<Undo>,
    choices: Vec<Choice>,
    steps: usize,
    miss: Option<NearestMiss>,
}

impl<'v, 'g> Matcher<'v, 'g> {
    /// `None` where there is no pattern at all.
    pub fn new(view: &'v View<'g>, programs: &'v Programs) -> Option<Matcher<'v, 'g>> {
        Some(Matcher {
            view,
            programs,
            program: programs.all.first()?,
            names: Vec::new(),
            done: Vec::new(),
            units: Vec::new(),
            leaves: Vec::new(),
            goals: Vec::new(),
            first_goal: None,
            links: Vec::new(),
            trail: Vec::new(),
            choices: Vec::new(),
            steps: 0,
            miss: None,
        })
    }

    /// Calls `found` with every way in which the pattern matches with its root at `root`; the nearest miss
    /// is what failed with most nodes bound, in any of the ways tried.
    pub fn search(
        &mut self,
        program: usize,
        root: u32,
        found: &mut dyn FnMut(&Match) -> ControlFlow<()>,
    ) -> Option<NearestMiss> {
        self.begin(&self.programs.all[program]);
        let moves = self.root_moves(root);
        self.choose(moves);
        while self.next_move() {
            loop {
                match self.step() {
                    Ok(Step::Bound) => {}
                    Ok(Step::Moves(moves)) => {
                        self.choose(moves);
                        break;
                    }
                    Ok(Step::Solved) => {
                        if let Some(found_match) = self.solved()
                            && found(&found_match).is_break()
                        {
                            return None;
                        }
                        break;
                    }
                    Err(why) => {
                        self.fail(why);
                        break;
                    }
                }
            }
        }
        self.miss.take()
    }

    /// The way with this number.
    pub fn nth(&mut self, program: usize, root: u32, way: usize) -> Option<Match> {
        let (mut at, mut result) = (0, None);
        self.search(program, root, &mut |m| {
            if at == way {
                result = Some(m.clone());
                return ControlFlow::Break(());
            }
            at += 1;
            ControlFlow::Continue(())
        });
        result
    }

    fn begin(&mut self, program: &'v Program) {
        self.program = program;
        self.names.clear();
        self.names.resize(program.names.len(), Binding::Free);
        self.done.clear();
        self.done.resize(program.statements.len(), false);
        self.units.clear();
        self.leaves.clear();
        self.goals.clear();
        self.first_goal = None;
        self.links.clear();
        self.trail.clear();
        self.choices.clear();
        self.steps = 0;
        self.miss = None;
    }

    // ---- the search

    fn choose(&mut self, moves: SmallVec<[Move; 4]>) {
        self.choices.push(Choice {
            moves,
            next: 0,
            goals: self.first_goal,
            goals_len: self.goals.len(),
            trail_len: self.trail.len(),
        });
    }

    /// Makes the next move that can be made; false where none is left.
    fn next_move(&mut self) -> bool {
        while let Some(choice) = self.choices.last_mut() {
            let next = choice.moves.get(choice.next).copied();
            choice.next += 1;
            let (goals, goals_len, trail_len) = (choice.goals, choice.goals_len, choice.trail_len);
            self.first_goal = goals;
            self.goals.truncate(goals_len);
            self.undo(trail_len);
            let Some(next) = next else {
                self.choices.pop();
                continue;
            };
            if !self.count_step() {
                return false;
            }
            match self.make(next) {
                Ok(()) => return true,
                Err(why) => self.fail(why),
            }
        }
        false
    }

    fn count_step(&mut self) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            self.miss = Some(NearestMiss { why: Why::Steps, units: self.units.iter().copied().collect() });
            self.choices.clear();
            return false;
        }
        true
    }

    fn fail(&mut self, why: Why) {
        let before = self.miss.as_ref().map(|miss| miss.units.len());
        if before.is_none_or(|n| self.units.len() > n) {
            self.miss = Some(NearestMiss { why, units: self.units.iter().copied().collect() });
        }
    }

    fn undo(&mut self, trail_len: usize) {
        for entry in self.trail.drain(trail_len..).rev() {
            match entry {
                Undo::Name(name) => self.names[name] = Binding::Free,
                Undo::Statement(statement) => self.done[statement] = false,
                Undo::Unit => drop(self.units.pop()),
                Undo::Leaf => drop(self.leaves.pop()),
            }
        }
    }

    fn push_goal(&mut self, goal: Goal) {
        self.goals.push((goal, self.first_goal));
        self.first_goal = Some(self.goals.len() - 1);
    }

    /// Works on the first open goal.
    fn step(&mut self) -> Result<Step, Why> {
        let Some(first) = self.first_goal else { return self.open_statement() };
        let (goal, rest) = self.goals[first];
        self.first_goal = rest;
        match goal {
            Goal::Input { call, arg, unit, value, only } => self.input(call, arg, unit, value, only),
            Goal::Statement { statement, value, output, only } => {
                self.mark_done(statement);
                let target = Target::Statement(statement);
                let calls = &self.program.statements[statement].alternatives;
                let mut moves = SmallVec::new();
                for &call in calls {
                    self.moves_to(target, call, value, output, only, &mut moves);
                }
                self.offer(moves, calls[0], value)
            }
            Goal::Nested { call, value, only } => {
                let mut moves = SmallVec::new();
                self.moves_to(Target::Call, call, value, 0, only, &mut moves);
                self.offer(moves, call, value)
            }
        }
    }

    fn offer(&self, moves: SmallVec<[Move; 4]>, call: CallId, value: ValueId) -> Result<Step, Why> {
        if !moves.is_empty() {
            return Ok(Step::Moves(moves));
        }
        let call_fits = |(unit, _): (u32, u32)| self.fits(&self.program.calls[call], unit);
        match self.view.makers(value).any(call_fits) {
            true => Err(Why::Output { call, value }),
            false => Err(Why::Maker { call, value }),
        }
    }

    /// A complete match, unless a leaf stands for a value that is made inside.
    fn solved(&mut self) -> Option<Match> {
        let mut nodes: SmallVec<[u32; 4]> = SmallVec::new();
        self.units.iter().for_each(|u| nodes.extend_from_slice(&self.view.units[*u as usize].nodes));
        nodes.sort_unstable();
        let made_inside =
            |value: &&ValueId| self.view.producer(**value).is_some_and(|p| nodes.binary_search(&p).is_ok());
        if let Some(&value) = self.leaves.iter().find(made_inside) {
            self.fail(Why::Inside { value });
            return None;
        }
        let value = |binding: &Binding| match binding {
            Binding::Value(value) => Some(*value),
            Binding::Free | Binding::Missing => None,
        };
        let units = self.units.iter().copied().collect();
        Some(Match { units, nodes, names: self.names.iter().map(value).collect() })
    }

    // ---- moves

    fn fits(&self, call: &Call, unit: u32) -> bool {
        let found = &self.view.units[unit as usize];
        let folded = |fold| self.programs.vendors[self.program.vendor].limits.fold.contains(fold);
        let is_ours = found.folds.as_ref().is_none_or(folded);
        is_ours
            && match &call.ops {
                None => !found.closed && (unit as usize) < self.view.order.len(),
                Some(ops) => found.symbol.is_some_and(|s| ops.contains(&s)),
            }
    }

    /// Ways in which a call may have made the value, in search order.
    fn moves_to(
        &mut self,
        target: Target,
        id: CallId,
        value: ValueId,
        output: usize,
        only: Option<u32>,
        moves: &mut SmallVec<[Move; 4]>,
    ) {
        let program = self.program;
        let call = &program.calls[id];
        let mut push = |kind| moves.push(Move { target, call: id, kind });
        if call.quantifier == Quantifier::Chain {
            let from = self.links.len();
            self.grow_chain(call, value, only);
            let mut ends: Vec<usize> = (from..self.links.len()).collect();
            ends.sort_by_key(|&link| std::cmp::Reverse(self.links[link].depth));
            for link in ends {
                push(MoveKind::Chain { link, output: value, input: self.links[link].value });
            }
        } else {
            for (unit, made) in self.view.makers(value) {
                if only.is_none_or(|o| o == unit) && made as usize == output && self.fits(call, unit) {
                    push(MoveKind::Node { unit, swapped: false });
                    if self.may_swap(call, unit) {
                        push(MoveKind::Node { unit, swapped: true });
                    }
                }
            }
        }
        if call.quantifier != Quantifier::One {
            push(MoveKind::Absent { value, only });
        }
    }

    fn may_swap(&self, call: &Call, unit: u32) -> bool {
        call.args.len() + usize::from(call.rest) >= 2 && self.view.units[unit as usize].is_commutative()
    }

    fn root_moves(&mut self, root: u32) -> SmallVec<[Move; 4]> {
        let program = self.program;
        let statement = program.root();
        self.mark_done(statement);
        let mut moves = SmallVec::new();
        let target = Target::Statement(statement);
        for &id in &program.statements[statement].alternatives {
            let call = &program.calls[id];
            if call.quantifier == Quantifier::One {
                if self.fits(call, root) {
                    moves.push(Move {
                        target,
                        call: id,
                        kind: MoveKind::Node { unit: root, swapped: false },
                    });
                    if self.may_swap(call, root) {
                        let kind = MoveKind::Node { unit: root, swapped: true };
                        moves.push(Move { target, call: id, kind });
                    }
                }
                continue;
            }
            // Which output an absent root stands for is known only where the node before it is.
            let outputs: SmallVec<[ValueId; 2]> =
                self.view.units[root as usize].outputs.iter().flatten().copied().collect();
            for value in outputs {
                let output = self.view.makers(value).find(|(u, _)| *u == root).map_or(0, |(_, o)| o as usize);
                if output == 0 {
                    self.moves_to(target, id, value, 0, Some(root), &mut moves);
                } else {
                    let kind = MoveKind::Absent { value, only: Some(root) };
                    moves.push(Move { target, call: id, kind });
                }
            }
        }
        moves
    }

    /// All chains that end with the value: along the first input, or either where the operator commutes.
    fn grow_chain(&mut self, call: &Call, value: ValueId, only: Option<u32>) {
        let mut open = vec![(value, None::<usize>)];
        while let Some((value, before)) = open.pop() {
            let makers: SmallVec<[u32; 2]> = self
                .view
                .makers(value)
                .filter(|(unit, output)| {
                    let wanted = before.is_some() || only.is_none_or(|o| o == *unit);
                    wanted
                        && *output == 0
                        && self.fits(call, *unit)
                        && self.plain_failure(call, *unit).is_none()
                })
                .map(|(unit, _)| unit)
                .collect();
            for unit in makers {
                let found = &self.view.units[unit as usize];
                let mut along: SmallVec<[Option<ValueId>; 2]> = SmallVec::new();
                along.push(found.input(0, false));
                if found.is_commutative() && found.input(1, false) != found.input(0, false) {
                    along.push(found.input(1, false));
                }
                for value in along.into_iter().flatten() {
                    if !self.count_chain_step() {
                        return;
                    }
                    let depth = before.map_or(1, |b| self.links[b].depth + 1);
                    self.links.push(Link { unit, before, depth, value });
                    open.push((value, Some(self.links.len() - 1)));
                }
            }
        }
    }

    /// All chains that begin with the value.
    fn grow_chain_forward(&mut self, call: &Call, value: ValueId) {
        let mut open = vec![(value, None::<usize>)];
        while let Some((value, before)) = open.pop() {
            let takers: SmallVec<[u32; 4]> = self.view.takers(value).collect();
            for unit in takers {
                let found = &self.view.units[unit as usize];
                let first = found.input(0, false) == Some(value);
                let along = first || (found.is_commutative() && found.input(1, false) == Some(value));
                let Some(next) = found.output(0) else { continue };
                if !along || !self.fits(call, unit) || self.plain_failure(call, unit).is_some() {
                    continue;
                }
                if !self.count_chain_step() {
                    return;
                }
                let depth = before.map_or(1, |b| self.links[b].depth + 1);
                self.links.push(Link { unit, before, depth, value: next });
                open.push((next, Some(self.links.len() - 1)));
            }
        }
    }

    fn count_chain_step(&mut self) -> bool {
        self.steps += 1;
        self.steps <= MAX_STEPS
    }

    fn make(&mut self, made: Move) -> Result<(), Why> {
        let Move { target, call: id, kind } = made;
        match kind {
            MoveKind::Node { unit, swapped } => self.match_node(target, id, unit, swapped),
            MoveKind::Absent { value, only } => {
                self.bind_output(target, value)?;
                self.push_goal(Goal::Input { call: id, arg: 0, unit: u32::MAX, value: Some(value), only });
                Ok(())
            }
            MoveKind::Chain { link, output, input } => {
                self.bind_output(target, output)?;
                self.match_chain(id, link, input)?;
                let value = Some(input);
                self.push_goal(Goal::Input { call: id, arg: 0, unit: u32::MAX, value, only: None });
                Ok(())
            }
        }
    }

    fn match_node(&mut self, target: Target, id: CallId, unit: u32, swapped: bool) -> Result<(), Why> {
        let (program, view) = (self.program, self.view);
        let (call, found) = (&program.calls[id], &view.units[unit as usize]);
        self.take(id, unit)?;
        if let Some(why) = self.failure(id, unit) {
            return Err(why);
        }
        if let Target::Statement(statement) = target {
            for (output, name) in program.statements[statement].outputs.iter().enumerate() {
                let Some(name) = name else { continue };
                let value = found.output(output).ok_or(Why::NoOutput { call: id, unit, output })?;
                self.bind(*name, Binding::Value(value))?;
            }
        }
        let further = found.inputs.iter().skip(call.args.len());
        if !call.rest && further.clone().any(Option::is_some) {
            return Err(Why::TooMany { call: id, unit });
        }
        further.flatten().for_each(|value| self.leaf(*value));
        for arg in (0..call.args.len()).rev() {
            let value = found.input(arg, swapped);
            self.push_goal(Goal::Input { call: id, arg, unit, value, only: None });
        }
        Ok(())
    }

    /// The nodes of a chain; their inputs off the chain are leaves.
    fn match_chain(&mut self, id: CallId, end: usize, along: ValueId) -> Result<(), Why> {
        let (program, view) = (self.program, self.view);
        let call = &program.calls[id];
        let (mut link, mut next) = (Some(end), along);
        while let Some(at) = link {
            let Link { unit, before, .. } = self.links[at];
            self.take(id, unit)?;
            let found = &view.units[unit as usize];
            let on_chain = |i: usize| i < 2 && found.input(i, false) == Some(next);
            let through = (0..found.inputs.len()).find(|i| on_chain(*i)).unwrap_or(0);
            let others: SmallVec<[Option<ValueId>; 4]> =
                (0..found.inputs.len()).filter(|i| *i != through).map(|i| found.input(i, false)).collect();
            others.iter().flatten().for_each(|value| self.leaf(*value));
            for arg in (1..call.args.len()).rev() {
                let value = others.get(arg - 1).copied().flatten();
                self.push_goal(Goal::Input { call: id, arg, unit, value, only: None });
            }
            next = found.output(0).unwrap_or(next);
            link = before;
        }
        Ok(())
    }

    /// Claims a node's places for this match.
    fn take(&mut self, call: CallId, unit: u32) -> Result<(), Why> {
        let nodes = &self.view.units[unit as usize].nodes;
        let overlaps = |other: &u32| {
            *other == unit || self.view.units[*other as usize].nodes.iter().any(|n| nodes.contains(n))
        };
        if self.units.iter().any(overlaps) {
            return Err(Why::Twice { call, unit });
        }
        self.units.push(unit);
        self.trail.push(Undo::Unit);
        Ok(())
    }

    /// What of the operator itself does not fit: its version or an attribute.
    fn failure(&self, id: CallId, unit: u32) -> Option<Why> {
        let call = &self.program.calls[id];
        self.plain_failure(call, unit).map(|attribute| match attribute {
            None => Why::Opset { call: id, unit },
            Some(attribute) => Why::Attribute { call: id, unit, attribute },
        })
    }

    /// `Some(None)` is a wrong version, `Some(Some(i))` attribute `i` of the call.
    fn plain_failure(&self, call: &Call, unit: u32) -> Option<Option<usize>> {
        let found = &self.view.units[unit as usize];
        if !self.accepts_version(found) {
            return Some(None);
        }
        let differs = |(name, literal): &(String, _)| {
            !found.attribute(name).is_some_and(|attr| attribute::equals(&attr, literal))
        };
        call.attributes.iter().position(differs).map(Some)
    }

    /// Whether the operator is the same at the version that the vendor asks for.
    fn accepts_version(&self, unit: &Unit<'_>) -> bool {
        let Some(&wanted) = self.programs.vendors[self.program.vendor].opset.get(unit.domain) else {
            return true;
        };
        let schema = byoc_graph::schema::lookup(unit.domain, unit.op, wanted);
        let own = byoc_graph::schema::lookup(unit.domain, unit.op, unit.opset);
        schema.map(|s| s.since_version) == own.map(|s| s.since_version)
    }

    // ---- names

    fn mark_done(&mut self, statement: usize) {
        if !self.done[statement] {
            self.done[statement] = true;
            self.trail.push(Undo::Statement(statement));
        }
    }

    fn leaf(&mut self, value: ValueId) {
        self.leaves.push(value);
        self.trail.push(Undo::Leaf);
    }

    fn bind(&mut self, name: NameId, to: Binding) -> Result<(), Why> {
        match (self.names[name], to) {
            (Binding::Free, _) => {
                self.names[name] = to;
                self.trail.push(Undo::Name(name));
                Ok(())
            }
            (bound, _) if bound == to => Ok(()),
            (Binding::Value(value), _) | (_, Binding::Value(value)) => Err(Why::Differs { name, value }),
            _ => Ok(()),
        }
    }

    /// The first output of an absent node or a chain.
    fn bind_output(&mut self, target: Target, value: ValueId) -> Result<(), Why> {
        if let Target::Statement(statement) = target
            && let Some(Some(name)) = self.program.statements[statement].outputs.first()
        {
            return self.bind(*name, Binding::Value(value));
        }
        Ok(())
    }

    fn input(
        &mut self,
        id: CallId,
        arg_index: usize,
        unit: u32,
        value: Option<ValueId>,
        only: Option<u32>,
    ) -> Result<Step, Why> {
        let program = self.program;
        let arg = &program.calls[id].args[arg_index];
        let Some(value) = value else {
            if !arg.optional {
                return Err(Why::Missing { call: id, arg: arg_index, unit });
            }
            if let ArgKind::Name(name) = arg.kind {
                self.bind(name, Binding::Missing)?;
                if let Some((statement, _)) = program.defined[name] {
                    self.mark_done(statement);
                }
            }
            return Ok(Step::Bound);
        };
        let constant = self.view.graph.is_constant(value);
        let wanted = arg.constness;
        if (wanted == Constness::Const && !constant) || (wanted == Constness::Input && constant) {
            let name = if let ArgKind::Name(name) = arg.kind { Some(name) } else { None };
            return Err(Why::Const { name, value, wanted });
        }
        match arg.kind {
            ArgKind::Any => self.leaf(value),
            ArgKind::Call(call) => self.push_goal(Goal::Nested { call, value, only }),
            ArgKind::Name(name) => match program.defined[name] {
                Some((statement, output)) if !self.done[statement] => {
                    self.push_goal(Goal::Statement { statement, value, output, only });
                }
                Some(_) => self.bind(name, Binding::Value(value))?,
                None => {
                    self.bind(name, Binding::Value(value))?;
                    self.leaf(value);
                }
            },
        }
        Ok(Step::Bound)
    }

    // ---- statements that only their inputs lead to

    /// Moves for a statement that no output leads to, from the values that its inputs are bound to.
    fn open_statement(&mut self) -> Result<Step, Why> {
        let program = self.program;
        let open = |s: &usize| !self.done[*s];
        let Some(first) = (0..program.statements.len()).find(open) else { return Ok(Step::Solved) };
        for statement in (first..program.statements.len()).filter(|s| !self.done[*s]).collect::<Vec<_>>() {
            let mut moves: SmallVec<[Move; 4]> = SmallVec::new();
            for &call in &program.statements[statement].alternatives {
                self.moves_from(statement, call, &mut moves);
            }
            if !moves.is_empty() {
                self.mark_done(statement);
                return Ok(Step::Moves(moves));
            }
        }
        Err(Why::Unreached { statement: first })
    }

    fn moves_from(&mut self, statement: usize, id: CallId, moves: &mut SmallVec<[Move; 4]>) {
        let program = self.program;
        let call = &program.calls[id];
        let target = Target::Statement(statement);
        let mut push = |kind| {
            let next = Move { target, call: id, kind };
            if !moves.contains(&next) {
                moves.push(next);
            }
        };
        for (value, depth, is_first) in self.bound_inputs(id) {
            if call.quantifier == Quantifier::Chain {
                let from = self.links.len();
                self.grow_chain_forward(call, value);
                let mut ends: Vec<usize> = (from..self.links.len()).collect();
                ends.sort_by_key(|&link| std::cmp::Reverse(self.links[link].depth));
                for link in ends {
                    push(MoveKind::Chain { link, output: self.links[link].value, input: value });
                }
            } else {
                for unit in self.reach(value, depth) {
                    if self.fits(call, unit) {
                        push(MoveKind::Node { unit, swapped: false });
                        if self.may_swap(call, unit) {
                            push(MoveKind::Node { unit, swapped: true });
                        }
                    }
                }
            }
            if call.quantifier != Quantifier::One && is_first {
                push(MoveKind::Absent { value, only: None });
            }
        }
    }

    /// Values that inputs of a call are bound to, with how many nodes away the call's node is, and whether
    /// it is the first input.
    fn bound_inputs(&self, id: CallId) -> SmallVec<[(ValueId, usize, bool); 4]> {
        let mut found = SmallVec::new();
        let mut open: SmallVec<[(CallId, usize); 4]> = SmallVec::new();
        open.push((id, 1));
        while let Some((call, depth)) = open.pop() {
            for (i, arg) in self.program.calls[call].args.iter().enumerate() {
                match arg.kind {
                    ArgKind::Name(name) => {
                        if let Binding::Value(value) = self.names[name]
                            && !self.view.graph.is_constant(value)
                        {
                            found.push((value, depth, depth == 1 && i == 0));
                        }
                    }
                    ArgKind::Call(inner) => open.push((inner, depth + 1)),
                    ArgKind::Any => {}
                }
            }
        }
        found
    }

    /// Units that take the value, or what comes of it, at most `depth` nodes away.
    fn reach(&mut self, value: ValueId, depth: usize) -> Vec<u32> {
        let (mut found, mut values) = (Vec::new(), vec![value]);
        for _ in 0..depth {
            let mut next = Vec::new();
            for value in values {
                for unit in self.view.takers(value) {
                    self.steps += 1;
                    if self.steps > MAX_STEPS {
                        return found;
                    }
                    found.push(unit);
                    next.extend(self.view.units[unit as usize].outputs.iter().flatten().copied());
                }
            }
            values = next;
        }
        found
    }
}
