//! Pattern tables compiled for matching: names become numbers, nested calls one flat list, operators symbols.

use std::collections::HashMap;

use byoc_plugin::table::{
    self, ArgKind as AstArg, Constness, Limits, Literal, OpSet, PatternTable, Quantifier,
};

use crate::where_clause::Clause;

pub type CallId = usize;
pub type NameId = usize;

/// One pattern of one vendor.
#[derive(Debug)]
pub struct Program {
    /// Index of the vendor among those given.
    pub vendor: usize,
    /// Place in the vendor's table.
    pub place: usize,
    pub name: String,
    pub priority: i64,
    pub allow_taps: bool,
    pub calls: Vec<Call>,
    /// In the order of the table; the last one is the root.
    pub statements: Vec<Statement>,
    pub names: Vec<String>,
    /// By name: the statement and output that define it; `None` for a leaf.
    pub defined: Vec<Option<(usize, usize)>>,
    pub clauses: Vec<Clause>,
}

#[derive(Debug)]
pub struct Statement {
    pub outputs: Vec<Option<NameId>>,
    pub alternatives: Vec<CallId>,
}

#[derive(Debug)]
pub struct Call {
    /// `None` is any operator without bodies.
    pub ops: Option<Vec<Symbol>>,
    /// The operators as the table writes them, for reasons.
    pub written: String,
    pub quantifier: Quantifier,
    pub attributes: Vec<(String, Literal)>,
    pub args: Vec<Arg>,
    /// Any further inputs may follow.
    pub rest: bool,
}

#[derive(Debug)]
pub struct Arg {
    pub kind: ArgKind,
    pub optional: bool,
    pub constness: Constness,
}

#[derive(Debug, Clone, Copy)]
pub enum ArgKind {
    Name(NameId),
    Any,
    Call(CallId),
}

/// An operator by domain and name; only operators that some pattern names have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(u32);

/// A vendor's wishes besides its patterns.
#[derive(Debug, Clone)]
pub struct Vendor {
    pub name: String,
    pub limits: Limits,
    /// Opset version by domain.
    pub opset: HashMap<String, i64>,
}

/// All patterns of all vendors, found by the operator of their root.
#[derive(Debug, Default)]
pub struct Programs {
    pub vendors: Vec<Vendor>,
    pub all: Vec<Program>,
    symbols: HashMap<String, HashMap<String, Symbol>>,
    /// By symbol: programs whose root may be that operator.
    by_root: Vec<Vec<usize>>,
    any_root: Vec<usize>,
    /// By symbol: programs that name the operator anywhere.
    mentions: Vec<Vec<usize>>,
}

impl Programs {
    pub fn compile<'t>(tables: impl IntoIterator<Item = &'t PatternTable>) -> Programs {
        let mut programs = Programs::default();
        for table in tables {
            let vendor = programs.vendors.len();
            programs.vendors.push(Vendor {
                name: table.vendor.name.clone(),
                limits: table.vendor.limits.clone(),
                opset: table.vendor.opset.iter().map(|(domain, v)| (canonical(domain).into(), *v)).collect(),
            });
            for (place, pattern) in table.patterns.iter().enumerate() {
                programs.add(vendor, place, pattern);
            }
        }
        programs
    }

    fn add(&mut self, vendor: usize, place: usize, pattern: &table::Pattern) {
        let mut compiler = Compiler { symbols: self, calls: Vec::new(), names: Vec::new() };
        let mut statements = Vec::new();
        for statement in &pattern.statements {
            let alternatives = statement.alternatives.iter().map(|call| compiler.call(call)).collect();
            let outputs = statement.outputs.iter().map(|o| o.as_ref().map(|n| compiler.name(n))).collect();
            statements.push(Statement { outputs, alternatives });
        }
        let (calls, names) = (compiler.calls, compiler.names);
        let mut defined = vec![None; names.len()];
        for (index, statement) in statements.iter().enumerate() {
            for (output, name) in statement.outputs.iter().enumerate() {
                if let Some(name) = name {
                    defined[*name] = Some((index, output));
                }
            }
        }
        let program = Program {
            vendor,
            place,
            name: pattern.name.clone(),
            priority: pattern.priority,
            allow_taps: pattern.allow_taps,
            calls,
            statements,
            names,
            defined,
            clauses: pattern.where_.iter().map(|clause| Clause::new(&clause.text)).collect(),
        };
        self.index(program);
    }

    fn index(&mut self, program: Program) {
        let id = self.all.len();
        let mut roots = Roots::default();
        program.roots_of(program.statements.len() - 1, &mut roots);
        match roots.any {
            true => self.any_root.push(id),
            false => roots.symbols.iter().for_each(|s| push_once(&mut self.by_root[s.0 as usize], id)),
        }
        for symbol in program.calls.iter().flat_map(|call| call.ops.iter().flatten()) {
            push_once(&mut self.mentions[symbol.0 as usize], id);
        }
        self.all.push(program);
    }

    fn intern(&mut self, domain: &str, name: &str) -> Symbol {
        let next = Symbol(self.by_root.len() as u32);
        let symbols = self.symbols.entry(canonical(domain).to_owned()).or_default();
        let symbol = *symbols.entry(name.to_owned()).or_insert(next);
        if symbol == next {
            self.by_root.push(Vec::new());
            self.mentions.push(Vec::new());
        }
        symbol
    }

    /// The symbol of an operator that some pattern names.
    pub fn symbol(&self, domain: &str, name: &str) -> Option<Symbol> {
        self.symbols.get(domain)?.get(name).copied()
    }

    /// Programs whose root may be this operator.
    pub fn rooted_at(&self, symbol: Option<Symbol>) -> impl Iterator<Item = usize> + '_ {
        let named = symbol.map_or(&[][..], |s| &self.by_root[s.0 as usize]);
        named.iter().chain(&self.any_root).copied()
    }

    /// The first pattern of a vendor that names the operator.
    pub fn mention(&self, vendor: usize, symbol: Symbol) -> Option<usize> {
        let mentions = self.mentions[symbol.0 as usize].iter().copied();
        mentions.into_iter().find(|&p| self.all[p].vendor == vendor)
    }
}

fn push_once(list: &mut Vec<usize>, id: usize) {
    if list.last() != Some(&id) {
        list.push(id);
    }
}

fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

#[derive(Default)]
struct Roots {
    any: bool,
    symbols: Vec<Symbol>,
    seen: Vec<usize>,
}

impl Program {
    /// The operators that may make a statement's outputs, also where optional nodes are absent.
    fn roots_of(&self, statement: usize, roots: &mut Roots) {
        let mut statements = vec![statement];
        let mut calls = Vec::new();
        while let Some(statement) = statements.pop() {
            if roots.seen.contains(&statement) {
                continue;
            }
            roots.seen.push(statement);
            calls.extend(self.statements[statement].alternatives.iter().copied());
            while let Some(call) = calls.pop() {
                let call = &self.calls[call];
                match &call.ops {
                    None => roots.any = true,
                    Some(ops) => roots.symbols.extend(ops),
                }
                if call.quantifier == Quantifier::One {
                    continue;
                }
                match call.args.first().map(|arg| arg.kind) {
                    Some(ArgKind::Call(inner)) => calls.push(inner),
                    Some(ArgKind::Name(name)) => statements.extend(self.defined[name].map(|(s, _)| s)),
                    Some(ArgKind::Any) | None => {}
                }
            }
        }
    }

    pub fn root(&self) -> usize {
        self.statements.len() - 1
    }
}

struct Compiler<'a> {
    symbols: &'a mut Programs,
    calls: Vec<Call>,
    names: Vec<String>,
}

impl Compiler<'_> {
    fn name(&mut self, name: &str) -> NameId {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    fn call(&mut self, call: &table::Call) -> CallId {
        let args = call.args.iter().map(|arg| Arg {
            kind: match &arg.kind {
                AstArg::Name(name) => ArgKind::Name(self.name(name)),
                AstArg::Any => ArgKind::Any,
                AstArg::Call(inner) => ArgKind::Call(self.call(inner)),
            },
            optional: arg.optional,
            constness: arg.constness,
        });
        let args = args.collect();
        let (ops, written) = match &call.ops {
            OpSet::Any => (None, "_".to_owned()),
            OpSet::Names(names) => {
                let ops = names.iter().map(|op| self.symbols.intern(&op.domain, &op.name)).collect();
                let written: Vec<&str> = names.iter().map(|op| op.name.as_str()).collect();
                (Some(ops), written.join("|"))
            }
        };
        self.calls.push(Call {
            ops,
            written,
            quantifier: call.quantifier,
            attributes: call.attributes.iter().map(|a| (a.name.clone(), a.value.clone())).collect(),
            args,
            rest: call.variadic_rest,
        });
        self.calls.len() - 1
    }
}
