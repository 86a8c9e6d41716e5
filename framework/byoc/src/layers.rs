//! Each region of a placed model by itself: what the vendor makes of the host's inputs, beside what the host does.

use std::collections::HashMap;

use byoc_graph::{Datum, Graph, Model, ValueId};
use byoc_partitioner::{Region, RegionComposite};

use crate::ask::composite_region;
use crate::measure::ProfileSource;
use crate::verify::{broken_claim, differing};
use crate::{Error, Partitioned, Placement, PluginOptions, Policy, Session, VendorSource};

/// A part of a model with what goes in and what should come out.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: String,
    pub nodes: Vec<String>,
    pub model: Model,
    pub inputs: Vec<(String, Datum)>,
    /// As the host computes them.
    pub want: Vec<(String, Datum)>,
}

/// What a vendor makes of a part.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Nothing where it failed.
    pub got: Vec<(String, Datum)>,
    /// What is beyond tolerance, or how the vendor failed, in words.
    pub difference: Option<String>,
    pub drift: Drift,
    /// Whether the vendor could compile it.
    pub compiled: bool,
}

impl Layer {
    /// The vendor has computed nothing: what there is, is the host's.
    fn failed(why: String, compiled: bool) -> Layer {
        Layer { got: Vec::new(), difference: Some(why), drift: Drift::default(), compiled }
    }
}

/// How far the worst output is off.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drift {
    pub largest_difference: f64,
    pub largest_value: f64,
    /// Elements that are not finite on one side only.
    pub lost: usize,
}

/// The main graph's regions, with the values that the host computes for one set of inputs.
pub struct Layers<'a> {
    placed: &'a Partitioned,
    sources: Vec<VendorSource>,
    options: PluginOptions,
    values: HashMap<ValueId, Datum>,
}

impl<'a> Layers<'a> {
    pub fn new(
        placed: &'a Partitioned,
        sources: &[VendorSource],
        options: &PluginOptions,
        inputs: &[(String, Datum)],
    ) -> Result<Layers<'a>, Error> {
        let values = host_values(placed, inputs)?;
        Ok(Layers { placed, sources: sources.to_vec(), options: options.clone(), values })
    }

    /// Regions of the main graph, in the order in which they run.
    pub fn regions(&self) -> Vec<&'a Region> {
        let graph = &self.placed.model.graph;
        let order = graph.model_order();
        let place = |r: &Region| {
            let last = r.members.iter().filter_map(|m| order.iter().position(|n| *n == m.node)).max();
            last.unwrap_or(0)
        };
        let mut regions: Vec<&Region> =
            self.placed.partition.regions.iter().filter(|r| r.graph.text == "main").collect();
        regions.sort_by_key(|r| place(r));
        regions
    }

    pub fn whole(&self, region: &Region) -> Result<Part, Error> {
        self.part(region, region.name.clone())
    }

    /// Some composites of a region as a part of their own.
    pub fn some(&self, region: &Region, composites: &[RegionComposite]) -> Result<Part, Error> {
        let joined = RegionComposite {
            members: composites.iter().flat_map(|c| c.members.iter().copied()).collect(),
            ..composites[composites.len() - 1].clone()
        };
        let mut some = composite_region(&self.placed.model.graph, region, &joined);
        some.composites = composites.to_vec();
        let patterns: Vec<&str> = composites.iter().map(|c| c.pattern.as_str()).collect();
        self.part(&some, format!("{} of {}", patterns.join(", "), region.name))
    }

    fn part(&self, region: &Region, name: String) -> Result<Part, Error> {
        let placed = self.placed;
        let graph = &placed.model.graph;
        let subgraph = region.subgraph(graph).map_err(|e| Error::Other(e.to_string()))?.graph;
        let value = |outer: &ValueId| {
            let constant = || graph.constant(*outer).map(|t| Datum::from((**t).clone()));
            let missing = || Error::Other(format!("`{}` has no value on the host", graph.value(*outer).name));
            self.values.get(outer).cloned().or_else(constant).ok_or_else(missing)
        };
        let named = |inner: &[ValueId], outer: &[ValueId]| {
            let pairs = inner.iter().zip(outer);
            let pair = |(i, o): (&ValueId, &ValueId)| Ok((subgraph.value(*i).name.to_string(), value(o)?));
            pairs.map(pair).collect::<Result<Vec<_>, Error>>()
        };
        let inputs = named(subgraph.inputs(), &region.inputs)?;
        let want = named(subgraph.outputs(), &region.outputs)?;
        let nodes = region.members.iter().map(|m| m.name(graph)).collect();
        let whole = &placed.model;
        let model = Model {
            graph: subgraph,
            opsets: whole.opsets.clone(),
            functions: whole.functions.clone(),
            ir_version: whole.ir_version,
            producer_name: "byoc".into(),
            ..Model::default()
        };
        Ok(Part { name, nodes, model, inputs, want })
    }

    /// Has the vendors compute a part; `None` where none of them takes it alone.
    pub fn compute(&self, part: &Part) -> Result<Option<Layer>, Error> {
        let placement =
            Placement { policy: Some(Policy::Greedy), profile: ProfileSource::None, ..Placement::default() };
        let session = Session::builder("part.onnx")
            .model(part.model.clone())
            .vendors(self.sources.clone())
            .plugin_options(self.options.clone())
            .placement(placement)
            .build()?;
        if let Some(broken) = broken_claim(session.report()) {
            return Ok(Some(Layer::failed(broken, false)));
        }
        if session.report().summary.offloaded == 0 {
            return Ok(None);
        }
        let got = session.run(&part.inputs)?;
        if let Some(failure) = session.fallbacks().first() {
            return Ok(Some(Layer::failed(failure.clone(), true)));
        }
        let difference = differing(session.graph(), &got, &part.want);
        let drift = drift(&got, &part.want);
        Ok(Some(Layer { got, difference, drift, compiled: true }))
    }
}

/// What the host computes for every value that nodes of regions take or make.
fn host_values(placed: &Partitioned, inputs: &[(String, Datum)]) -> Result<HashMap<ValueId, Datum>, Error> {
    let graph = &placed.model.graph;
    let mut wanted: Vec<ValueId> = Vec::new();
    let regions = placed.partition.regions.iter().filter(|r| r.graph.text == "main");
    for member in regions.flat_map(|r| &r.members) {
        let node = graph.node(member.node);
        wanted.extend(node.dependencies().chain(node.outputs().iter().flatten().copied()));
    }
    wanted.sort_unstable();
    wanted.dedup();
    let (made, given): (Vec<ValueId>, Vec<ValueId>) = wanted
        .into_iter()
        .filter(|v| !graph.is_constant(*v))
        .partition(|v| graph.value(*v).producer().is_some());
    let mut values: HashMap<ValueId, Datum> = HashMap::new();
    let find = |graph: &Graph, named: &[(String, Datum)], value: ValueId| {
        let name = &graph.value(value).name;
        named.iter().find(|(n, _)| **n == **name).map(|(_, datum)| datum.clone())
    };
    values.extend(given.iter().filter_map(|v| Some((*v, find(graph, inputs, *v)?))));
    let mut model = placed.model.clone();
    model.graph.set_outputs(made.clone());
    let outputs = Session::builder("host.onnx").model(model).build()?.run(inputs)?;
    values.extend(made.iter().filter_map(|v| Some((*v, find(graph, &outputs, *v)?))));
    Ok(values)
}

fn drift(got: &[(String, Datum)], want: &[(String, Datum)]) -> Drift {
    let numbers = |d: &Datum| d.as_tensor().and_then(|t| t.to_f64s()).unwrap_or_default();
    let mut drift = Drift::default();
    for ((_, got), (_, want)) in got.iter().zip(want) {
        for (got, want) in numbers(got).into_iter().zip(numbers(want)) {
            if got.is_finite() != want.is_finite() {
                drift.lost += 1;
            } else if want.is_finite() {
                drift.largest_difference = drift.largest_difference.max((got - want).abs());
                drift.largest_value = drift.largest_value.max(want.abs());
            }
        }
    }
    drift
}
