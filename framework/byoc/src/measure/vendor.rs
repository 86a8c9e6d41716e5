//! Times of a vendor's regions, run alone on random inputs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use byoc_cpu::fast::Isa;
use byoc_cpu::fast::gemm::Precision;
use byoc_cpu::pool::ThreadPool;
use byoc_cpu::{Registry, View};
use byoc_graph::{Graph, GraphError, Model, Node, NodeId, NodeSpec};
use byoc_host::CallEnv;
use byoc_partitioner::cost::{Work, is_heavy, work_of};
use byoc_partitioner::{Partition, Region, RegionComposite};
use byoc_runtime::{InputSpec, Program, Regions};

use super::fit::Sample;
use super::{median, whole};
use crate::Error;
use crate::ask::composite_region;
use crate::bundle::Artefacts;
use crate::compile::{Compiler, compile_region};
use crate::program::{ProgramParts, RegionsByName};
use crate::random;
use crate::regions::{Pool, VendorRegion};
use crate::vendors::Vendor;

/// Runs that count, and the time after which there are no more of them.
const RUNS: usize = 7;
const LONG_ENOUGH: Duration = Duration::from_millis(300);
const SEED: u64 = 11;
/// Composites of one pattern that are timed, and whole regions.
const MAX_OF_PATTERN: usize = 12;
const MAX_REGIONS: usize = 12;

/// The share of a sum of times that may be chance.
const NOISE: f64 = 0.05;

/// Compiles regions of a model and times them.
pub(crate) struct RegionTimer<'a> {
    pub vendors: &'a [Vendor],
    pub model: &'a Model,
    pub pool: Arc<ThreadPool>,
}

/// What was measured of one vendor on one model.
#[derive(Default)]
pub(crate) struct VendorTimes {
    /// One composite each, as a region of its own: its call is in the time.
    pub samples: Vec<Sample>,
    /// What each call of a region takes beyond its composites, as far as regions of several tell.
    pub launches: Vec<f64>,
    /// Regions of several composites: what they take whole, what their composites take alone, and how many those are.
    pub regions: Vec<(f64, f64, usize)>,
    /// What could not be measured.
    pub warnings: Vec<String>,
}

impl RegionTimer<'_> {
    /// Microseconds of one run: the vendor's device time where it tells it, else the time of the call. `None`
    /// for a vendor without code.
    pub fn time(&self, region: &Region) -> Result<Option<f64>, Error> {
        let pool = Pool(&self.pool);
        let env = CallEnv { pool: &pool, stop: None };
        let Some(outer) = region.graph.get(self.model) else { return Ok(None) };
        let compiled = compile_region(&self.vendors[region.vendor], region, self.model, env)?;
        let Some(compiled) = compiled else { return Ok(None) };
        let graph = region.subgraph(outer).map_err(|e| Error::Other(e.to_string()))?.graph;
        let made = random::fill(&graph, &HashMap::new(), &mut HashMap::new(), SEED)?;
        let inputs: Vec<_> = graph.inputs().iter().map(|v| made.get(&*graph.value(*v).name)).collect();
        let compiled = Arc::new(compiled);
        let model = call_of(region, &graph).map_err(|e| Error::Other(e.to_string()))?;
        let options = byoc_runtime::Options {
            registry: &Registry::default(),
            regions: &One(compiled.clone()),
            pool: self.pool.clone(),
            isa: Isa::detect(),
            check_types: false,
            together: true,
        };
        let program = Program::build(&model, &options)?;
        let views: Vec<Option<View<'_>>> = inputs.iter().map(|d| d.map(View::of)).collect();
        let mut times = Vec::new();
        let start = Instant::now();
        // The first run finds nothing in caches.
        for run in 0..=RUNS {
            program.run(&views)?;
            let time = compiled.last_time().map_or(0.0, |time| time.as_secs_f64() * 1e6);
            let long = start.elapsed() > LONG_ENOUGH;
            if run > 0 || long {
                times.push(time);
            }
            if long {
                break;
            }
        }
        Ok(Some(median(&mut times)))
    }

    /// Microseconds of several runs of each whole placement, transfers and all; `None` where a vendor has no code
    /// or cannot compile a region.
    pub fn time_placements(&self, placements: &[&Partition]) -> Result<Option<Vec<Vec<f64>>>, Error> {
        let threads = Pool(&self.pool);
        let env = CallEnv { pool: &threads, stop: None };
        let mut compiler = Compiler::new(self.vendors, env, Artefacts::default());
        let mut programs = Vec::new();
        for partition in placements {
            let failed = compiler.compile(partition, self.model);
            let regions = compiler.regions(partition, self.model);
            if !failed.is_empty() || regions.len() < partition.regions.len() {
                return Ok(None);
            }
            let (registry, enables) = (&Registry::default(), &|_: &str| true);
            let pool = &self.pool;
            let (precision, check_types) = (Precision::F32, false);
            let parts = ProgramParts { regions: &regions, registry, pool, enables, precision, check_types };
            programs.push((parts.build(partition.outline(self.model)?)?, regions));
        }
        let made = random::fill(&self.model.graph, &HashMap::new(), &mut HashMap::new(), SEED)?;
        let views = |program: &Program| {
            let view = |input: &InputSpec| made.get(&*input.name).map(View::of);
            program.inputs().iter().map(view).collect::<Vec<_>>()
        };
        let inputs: Vec<_> = programs.iter().map(|(program, _)| views(program)).collect();
        let simulated = |regions: &RegionsByName| regions.values().map(|r| r.simulated_us()).sum::<f64>();
        let times = whole::in_turn(programs.len(), &mut |i| {
            let (program, regions) = &programs[i];
            let before = simulated(regions);
            program.run(&inputs[i])?;
            Ok(simulated(regions) - before)
        })?;
        Ok(Some(times))
    }

    /// Times composites alone, and whole regions, of a partition over these vendors.
    pub fn measure(&self, partition: &Partition, vendor: usize) -> VendorTimes {
        let mut times = VendorTimes::default();
        let mut alone = Alone::default();
        let regions: Vec<&Region> = partition.regions.iter().filter(|r| r.vendor == vendor).collect();
        for region in &regions {
            let Some(graph) = region.graph.get(self.model) else { continue };
            for composite in &region.composites {
                if alone.wants(composite, graph) {
                    let single = composite_region(graph, region, composite);
                    alone.put(composite, graph, self.time(&single), &mut times);
                }
            }
        }
        let several = regions.iter().filter(|r| r.composites.len() > 1).take(MAX_REGIONS);
        for region in several {
            let Some(graph) = region.graph.get(self.model) else { continue };
            let parts: Option<f64> = region.composites.iter().map(|c| alone.us(c, graph)).sum();
            let Some((parts, Ok(Some(whole)))) = parts.map(|parts| (parts, self.time(region))) else {
                continue;
            };
            let saved = (parts * (1.0 - NOISE) - whole).max(0.0);
            times.launches.push(saved / (region.composites.len() - 1) as f64);
            times.regions.push((whole, parts, region.composites.len()));
        }
        times
    }
}

/// A model that only calls the region.
fn call_of(region: &Region, graph: &Graph) -> Result<Model, GraphError> {
    let mut call = Graph::new("call");
    let mut spec = NodeSpec {
        domain: format!("byoc.{}", region.vendor_name).into(),
        op: region.name.as_str().into(),
        opset: 1,
        ..NodeSpec::default()
    };
    for value in graph.inputs().iter().map(|v| graph.value(*v)) {
        spec.inputs.push(Some(call.add_input(value.name.clone(), value.ty.clone())?));
    }
    for value in graph.outputs().iter().map(|v| graph.value(*v)) {
        let output = call.add_value(value.name.clone(), value.ty.clone())?;
        spec.outputs.push(Some(output));
        call.add_output(output);
    }
    call.add_node(spec)?;
    call.assign_labels();
    Ok(Model { graph: call, ..Model::default() })
}

/// The one region that there is.
struct One(Arc<VendorRegion>);

impl Regions for One {
    fn region(&self, call: &Node) -> Option<byoc_runtime::Region> {
        let takes = vec![true; call.inputs().len()];
        Some(byoc_runtime::Region { executable: self.0.clone(), takes })
    }
}

/// Times of composites alone; those of one pattern with the same work count as the same.
#[derive(Default)]
struct Alone {
    times: HashMap<(String, Work), Option<f64>>,
    counts: HashMap<String, usize>,
    failed: HashSet<String>,
}

impl Alone {
    fn key(composite: &RegionComposite, graph: &Graph) -> (String, Work) {
        (composite.pattern.clone(), work_of(graph, &nodes(composite)))
    }

    fn wants(&self, composite: &RegionComposite, graph: &Graph) -> bool {
        let count = self.counts.get(&composite.pattern).copied().unwrap_or(0);
        count < MAX_OF_PATTERN && !self.times.contains_key(&Alone::key(composite, graph))
    }

    fn put(
        &mut self,
        composite: &RegionComposite,
        graph: &Graph,
        time: Result<Option<f64>, Error>,
        times: &mut VendorTimes,
    ) {
        let (pattern, work) = Alone::key(composite, graph);
        let us = match time {
            Ok(us) => us,
            Err(error) => {
                if self.failed.insert(pattern.clone()) {
                    times.warnings.push(format!("pattern {pattern} cannot be timed alone: {error}"));
                }
                None
            }
        };
        if let Some(us) = us {
            *self.counts.entry(pattern.clone()).or_default() += 1;
            let heavy = nodes(composite).iter().any(|id| is_heavy(graph, *id));
            times.samples.push(Sample { key: pattern.clone(), heavy, work, us, fusion: 0.0 });
        }
        self.times.insert((pattern, work), us);
    }

    fn us(&self, composite: &RegionComposite, graph: &Graph) -> Option<f64> {
        self.times.get(&Alone::key(composite, graph)).copied().flatten()
    }
}

fn nodes(composite: &RegionComposite) -> Vec<NodeId> {
    composite.members.iter().map(|m| m.node).collect()
}
