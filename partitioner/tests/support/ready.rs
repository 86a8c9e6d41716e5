//! Models, tables and options, made ready for partitioning.

use std::collections::HashMap;
use std::path::Path;

use byoc_graph::infer::{InferOptions, infer, specialise};
use byoc_graph::normalise::{NoEvaluate, Removed, normalise};
use byoc_graph::{Model, onnx, schema};
use byoc_partitioner::will::Cut;
use byoc_partitioner::{Options, Partition, Policy, Report, where_clause};
use byoc_plugin::table::{OperatorLookup, PatternTable, TableChecks, TableError, WhereError};

/// What the schemas know of operators.
pub struct Checks;

impl TableChecks for Checks {
    fn operator(&self, domain: &str, name: &str, opset: Option<i64>) -> OperatorLookup {
        if schema::latest(domain).is_none() {
            return OperatorLookup::UnknownDomain;
        }
        let known: Vec<_> = match opset {
            Some(opset) => schema::lookup(domain, name, opset).into_iter().collect(),
            None => schema::versions(domain, name).iter().collect(),
        };
        if known.is_empty() {
            return OperatorLookup::Unknown { similar: Vec::new() };
        }
        let names = known.iter().flat_map(|s| s.attributes).map(|a| a.name.to_owned());
        OperatorLookup::Known { attributes: names.collect() }
    }

    fn parse_where(&self, text: &str) -> Result<(), WhereError> {
        where_clause::check(text).map_err(|e| WhereError { offset: e.offset, message: e.message })
    }
}

pub fn tables(texts: &[String]) -> Result<Vec<PatternTable>, TableError> {
    let parse = |(i, text): (usize, &String)| {
        let table = PatternTable::parse(&format!("table{i}.toml"), text)?;
        table.check(&Checks)?;
        Ok(table)
    };
    texts.iter().enumerate().map(parse).collect()
}

/// A model made ready for partitioning.
pub struct Ready {
    pub model: Model,
    pub removed: Vec<Removed>,
    /// Values that are one value with another, since a node between only passes it on.
    alias: HashMap<String, String>,
}

impl Ready {
    pub fn new(mut model: Model) -> Ready {
        infer(&mut model, &InferOptions::default()).expect("types can be inferred");
        let mut alias = HashMap::new();
        model.for_each_graph(&mut |_, graph| {
            for id in graph.model_order() {
                let node = graph.node(id);
                let ty = |v: Option<byoc_graph::ValueId>| v.and_then(|v| graph.value(v).ty.clone());
                let same = ty(node.input(0)).is_some() && ty(node.input(0)) == ty(node.output(0));
                let passes = node.is("Identity") || node.is("Dropout") || (node.is("Cast") && same);
                if let (true, Some(from), Some(to)) = (passes, node.input(0), node.output(0)) {
                    alias.insert(graph.value(to).name.to_string(), graph.value(from).name.to_string());
                }
            }
        });
        let removed = normalise(&mut model, &NoEvaluate, &|_| true);
        specialise(&mut model);
        Ready { model, removed, alias }
    }

    pub fn from_text(text: &str) -> Ready {
        Ready::new(onnx::from_text(text, None).expect("the model parses"))
    }

    pub fn value<'a>(&'a self, name: &'a str) -> &'a str {
        let mut name = name;
        while let Some(before) = self.alias.get(name) {
            name = before;
        }
        name
    }

    pub fn report(&self, partition: &Partition) -> Report {
        partition.report(&self.model, Path::new("model.onnx"), &self.removed)
    }
}

pub fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().ok_or_else(|| format!("{arg} lacks a value"));
        match arg.as_str() {
            "--policy" => {
                options.policy = match value()?.as_str() {
                    "greedy" => Policy::Greedy,
                    "cost" => Policy::Cost,
                    other => return Err(format!("this test does not know the policy `{other}`")),
                }
            }
            "--merge-siblings" => options.merge_siblings = true,
            "--exclude" => options.exclude.push(value()?),
            "--force" => {
                let value = value()?;
                let (node, target) = value.split_once('=').ok_or("--force wants NODE=TARGET")?;
                options.force.push((node.to_owned(), target.to_owned()));
            }
            "--only-op" => options.only_ops.push(value()?),
            "--cut" => options.cuts.extend(Cut::parse(&value()?)?),
            "--disable-pass" => options.disabled_passes.push(value()?),
            other => return Err(format!("this test does not know `{other}`")),
        }
    }
    Ok(options)
}
