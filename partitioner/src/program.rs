//! Pattern tables compiled for matching: names become numbers, nested calls one flat list, operators symbols.

use std::collections::HashMap;
use std::ops::Range;

use byoc_plugin::table::{
    self, ArgKind as AstArg, Constness, Limits, Literal, OpSet, PatternTable, Quantifier,
};

use crate::index::Index;
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

impl Symbol {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A vendor's wishes besides its patterns.
#[derive(Debug, Clone)]
pub struct Vendor {
    pub name: String,
    /// The name, or `vendor:device` where a device was chosen.
    pub target: String,
    pub limits: Limits,
    /// Opset version by domain.
    pub opset: HashMap<String, i64>,
    /// Numbers of its patterns.
    pub programs: Range<usize>,
}

/// All patterns of all vendors.
#[derive(Debug, Default)]
pub struct Programs {
    pub vendors: Vec<Vendor>,
    pub all: Vec<Program>,
    pub index: Index,
    symbols: HashMap<String, HashMap<String, Symbol>>,
    symbol_count: u32,
}

impl Programs {
    /// `targets` has the vendors for one device among several, by their names.
    pub fn compile<'t>(
        tables: impl IntoIterator<Item = &'t PatternTable>,
        targets: &HashMap<String, String>,
    ) -> Programs {
        let mut programs = Programs::default();
        for table in tables {
            let vendor = programs.vendors.len();
            programs.vendors.push(Vendor {
                name: table.vendor.name.clone(),
                target: targets.get(&table.vendor.name).unwrap_or(&table.vendor.name).clone(),
                limits: table.vendor.limits.clone(),
                opset: table.vendor.opset.iter().map(|(domain, v)| (canonical(domain).into(), *v)).collect(),
                programs: programs.all.len()..programs.all.len() + table.patterns.len(),
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
        self.index.add(self.all.len(), &program);
        self.all.push(program);
    }

    fn intern(&mut self, domain: &str, name: &str) -> Symbol {
        let next = Symbol(self.symbol_count);
        let symbols = self.symbols.entry(canonical(domain).to_owned()).or_default();
        let symbol = *symbols.entry(name.to_owned()).or_insert(next);
        if symbol == next {
            self.symbol_count += 1;
            self.index.add_symbol();
        }
        symbol
    }

    /// The symbol of an operator that some pattern names.
    pub fn symbol(&self, domain: &str, name: &str) -> Option<Symbol> {
        self.symbols.get(domain)?.get(name).copied()
    }

    /// The first pattern of a vendor that names the operator.
    pub fn mention(&self, vendor: usize, symbol: Symbol) -> Option<usize> {
        self.index.mentions(symbol).find(|&p| self.all[p].vendor == vendor)
    }
}

fn canonical(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

impl Program {
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
