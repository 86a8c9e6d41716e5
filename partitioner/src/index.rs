//! All patterns of all vendors, found by operator: a node is only tried with patterns that it may be the root of.
//!
//! Where a pattern says which operator comes right before its root, it is filed under both operators, so a node
//! meets it only behind such a node. What the index passes over fails at its first step, with the root alone
//! bound; `passed_over` names those patterns when someone asks why.

use std::collections::HashMap;

use byoc_plugin::table::Quantifier;

use crate::program::{ArgKind, CallId, Program, Symbol};

#[derive(Debug, Default)]
pub struct Index {
    by_root: Vec<AtRoot>,
    /// Patterns whose root may be any operator.
    any_root: Vec<usize>,
    /// By symbol: patterns that name the operator anywhere.
    mentions: Vec<Vec<usize>>,
}

/// Patterns whose root may be one operator, in the order of tables and of patterns.
#[derive(Debug, Default)]
struct AtRoot {
    all: Vec<usize>,
    /// Those that leave open what comes before the root.
    open: Vec<usize>,
    /// The others, by an operator that has to come before the root.
    behind: HashMap<Symbol, Vec<usize>>,
}

impl Index {
    /// Makes room for the next symbol.
    pub fn add_symbol(&mut self) {
        self.by_root.push(AtRoot::default());
        self.mentions.push(Vec::new());
    }

    /// Files a program whose number is above that of all before it.
    pub fn add(&mut self, id: usize, program: &Program) {
        for symbol in program.calls.iter().flat_map(|call| call.ops.iter().flatten()) {
            push_once(&mut self.mentions[symbol.index()], id);
        }
        let root = program.root();
        let Makers { any, symbols: roots, .. } = Makers::of_statement(program, root);
        if any {
            return self.any_root.push(id);
        }
        for symbol in &roots {
            push_once(&mut self.by_root[symbol.index()].all, id);
        }
        let alternatives = &program.statements[root].alternatives;
        let optional = alternatives.iter().any(|c| program.calls[*c].quantifier != Quantifier::One);
        if optional {
            return roots.iter().for_each(|s| push_once(&mut self.by_root[s.index()].open, id));
        }
        for &call in alternatives {
            let before = first_before(program, call);
            for symbol in program.calls[call].ops.iter().flatten() {
                let at = &mut self.by_root[symbol.index()];
                match &before {
                    None => push_once(&mut at.open, id),
                    Some(before) => {
                        before.iter().for_each(|b| push_once(at.behind.entry(*b).or_default(), id));
                    }
                }
            }
        }
    }

    /// Programs whose root may be this operator.
    pub fn rooted_at(&self, symbol: Option<Symbol>) -> impl Iterator<Item = usize> + '_ {
        let named = symbol.map_or(&[][..], |s| &self.by_root[s.index()].all);
        named.iter().chain(&self.any_root).copied()
    }

    /// Of those, the ones that may match behind nodes of the operators `before`; into `found`, in order.
    pub fn candidates(
        &self,
        symbol: Option<Symbol>,
        before: impl Iterator<Item = Symbol>,
        found: &mut Vec<usize>,
    ) {
        found.clear();
        if let Some(at) = symbol.map(|s| &self.by_root[s.index()]) {
            found.extend_from_slice(&at.open);
            if !at.behind.is_empty() {
                before.for_each(|b| found.extend(at.behind.get(&b).into_iter().flatten()));
                found.sort_unstable();
                found.dedup();
            }
        }
        found.extend_from_slice(&self.any_root);
    }

    /// Programs from number `from` on whose root may be this operator, except the `tried`, which are sorted.
    pub fn passed_over<'a>(
        &'a self,
        symbol: Option<Symbol>,
        from: usize,
        tried: &'a [usize],
    ) -> impl Iterator<Item = usize> + 'a {
        let all = symbol.map_or(&[][..], |s| &self.by_root[s.index()].all);
        let first = all.partition_point(|p| *p < from);
        all[first..].iter().copied().filter(|p| tried.binary_search(p).is_err())
    }

    /// Programs that name the operator.
    pub fn mentions(&self, symbol: Symbol) -> impl Iterator<Item = usize> + '_ {
        self.mentions[symbol.index()].iter().copied()
    }
}

fn push_once(list: &mut Vec<usize>, id: usize) {
    if list.last() != Some(&id) {
        list.push(id);
    }
}

/// The operators one of which has to come right before the call's node; `None` where that is open. Only what is
/// tried first counts: when it fails, nothing but the root is bound.
fn first_before(program: &Program, call: CallId) -> Option<Vec<Symbol>> {
    for arg in &program.calls[call].args {
        let makers = match arg.kind {
            ArgKind::Any => continue,
            ArgKind::Name(name) => match program.defined[name] {
                None => continue,
                Some((statement, _)) => Makers::of_statement(program, statement),
            },
            ArgKind::Call(call) => Makers::of_call(program, call),
        };
        return if arg.optional { None } else { makers.known() };
    }
    None
}

/// The operators that may make a value, also where optional nodes are absent.
#[derive(Default)]
struct Makers {
    symbols: Vec<Symbol>,
    /// It may be any operator.
    any: bool,
    /// It may be a leaf, as where an optional node is absent.
    leaf: bool,
}

impl Makers {
    fn of_statement(program: &Program, statement: usize) -> Makers {
        Makers::of(program, vec![statement], Vec::new())
    }

    fn of_call(program: &Program, call: CallId) -> Makers {
        Makers::of(program, Vec::new(), vec![call])
    }

    fn of(program: &Program, mut statements: Vec<usize>, mut calls: Vec<CallId>) -> Makers {
        let mut makers = Makers::default();
        let mut seen = vec![false; program.statements.len()];
        loop {
            while let Some(call) = calls.pop() {
                let call = &program.calls[call];
                match &call.ops {
                    None => makers.any = true,
                    Some(ops) => makers.symbols.extend(ops),
                }
                if call.quantifier == Quantifier::One {
                    continue;
                }
                match call.args.first().map(|arg| arg.kind) {
                    Some(ArgKind::Call(inner)) => calls.push(inner),
                    Some(ArgKind::Name(name)) => match program.defined[name] {
                        Some((statement, _)) => statements.push(statement),
                        None => makers.leaf = true,
                    },
                    Some(ArgKind::Any) | None => makers.leaf = true,
                }
            }
            let Some(statement) = statements.pop() else { break };
            if !std::mem::replace(&mut seen[statement], true) {
                calls.extend(&program.statements[statement].alternatives);
            }
        }
        makers.symbols.sort_unstable();
        makers.symbols.dedup();
        makers
    }

    /// All operators, where they can be listed.
    fn known(self) -> Option<Vec<Symbol>> {
        (!self.any && !self.leaf).then_some(self.symbols)
    }
}
