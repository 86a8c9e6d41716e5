//! The partitioned model: each region becomes a call to a local function in the vendor's domain.
//!
//! A function takes the region's inputs, then its constants, which stay where they are in the graph around the
//! call. Any runtime that inlines functions computes the same as before.

use byoc_graph::{Function, FunctionId, Graph, Metadata, Model, NodeSpec, ValueId};

use crate::Partition;
use crate::fold::{Constant, Folds};
use crate::options::{PartitionError, Policy};
use crate::region::Region;
use crate::will::PLACED;

/// The first IR version with local functions.
const IR_WITH_FUNCTIONS: i64 = 8;
/// Version of the domains that regions are in.
const VERSION: i64 = 1;

impl Partition {
    /// `model`, which has to be the one that was partitioned, with every region outlined.
    pub fn outline(&self, model: &Model) -> Result<Model, PartitionError> {
        let mut outlined = model.clone();
        // Bodies come behind the graphs around them, and are done first, since those may copy them.
        for path in self.graphs.iter().rev() {
            let regions: Vec<&Region> = self.regions.iter().filter(|r| r.graph == *path).collect();
            if regions.is_empty() {
                continue;
            }
            let opsets = path.opsets(model).clone();
            let Some(graph) = path.get_mut(&mut outlined) else { continue };
            let folds = Folds::of(graph, &regions);
            let bodies = regions.iter().map(|r| r.body(graph, &folds)).collect::<Result<Vec<_>, _>>()?;
            replace(graph, &regions, &folds)?;
            for (region, body) in regions.iter().zip(bodies) {
                let function = Function { body, opsets: opsets.clone(), ..Function::default() };
                outlined.functions.insert(function_id(region), function);
                // Runtimes that inline functions look for the domain in the model, too.
                outlined.opsets.insert(domain(region).into(), VERSION);
                if let Some(id) = &path.function {
                    outlined.functions[id].opsets.insert(domain(region).into(), VERSION);
                }
            }
            outlined.ir_version = outlined.ir_version.max(IR_WITH_FUNCTIONS);
        }
        if self.policy != Policy::Greedy && !self.regions.is_empty() {
            note_placed(&mut outlined.metadata, &self.vendors);
        }
        Ok(outlined)
    }
}

/// Adds the vendors to those that have been asked.
fn note_placed(metadata: &mut Metadata, vendors: &[String]) {
    let before = metadata.iter().position(|(key, _)| key == PLACED).map(|at| metadata.remove(at).1);
    let mut placed: Vec<&str> = before.as_deref().unwrap_or_default().lines().collect();
    placed.extend(vendors.iter().map(String::as_str).filter(|v| !placed.contains(v)).collect::<Vec<_>>());
    metadata.push((PLACED.to_owned(), placed.join("\n")));
}

fn domain(region: &Region) -> String {
    format!("byoc.{}", region.vendor_name)
}

fn function_id(region: &Region) -> FunctionId {
    FunctionId { domain: domain(region).into(), name: region.name.as_str().into(), overload: "".into() }
}

/// The value of a region's constant in the graph around it, which gets each new one once.
fn place_constant(graph: &mut Graph, constant: Constant) -> Result<ValueId, PartitionError> {
    match constant {
        Constant::Original(value) => Ok(value),
        Constant::New(new) => match graph.value_by_name(&new.name) {
            Some(value) => Ok(value),
            None => Ok(graph.add_constant(new.name, new.tensor)?),
        },
    }
}

/// Puts calls in the place of the regions' nodes.
fn replace(graph: &mut Graph, regions: &[&Region], folds: &Folds) -> Result<(), PartitionError> {
    let constants: Vec<_> = regions.iter().map(|r| folds.constants(graph, r)).collect();
    let mut made: Vec<ValueId> = Vec::new();
    let mut positions = Vec::new();
    for region in regions {
        let own = || region.members.iter().filter(|m| m.copy_for.is_none());
        positions.push(own().map(|m| graph.node(m.node).position).max().unwrap_or(0));
        for member in own() {
            let node = graph.remove_node(member.node);
            made.extend(node.outputs().iter().flatten());
        }
    }
    for ((region, position), constants) in regions.iter().zip(positions).zip(constants) {
        let mut inputs: Vec<Option<ValueId>> = region.inputs.iter().map(|v| Some(*v)).collect();
        for constant in constants {
            inputs.push(Some(place_constant(graph, constant)?));
        }
        graph.add_node(NodeSpec {
            name: region.name.as_str().into(),
            domain: domain(region).into(),
            op: region.name.as_str().into(),
            opset: VERSION,
            inputs,
            outputs: region.outputs.iter().map(|v| Some(*v)).collect(),
            position,
            ..NodeSpec::default()
        })?;
    }
    // Constants that were folded away are of no more use, either.
    let folding = regions.iter().filter(|r| r.composites.iter().any(|c| !c.folded.is_empty()));
    made.extend(folding.flat_map(|r| &r.constants));
    for value in made {
        let left = graph.contains_value(value) && graph.value(value).uses().is_empty();
        if left && graph.value(value).producer().is_none() && !graph.is_output(value) {
            graph.remove_value(value);
        }
    }
    graph.assign_labels();
    Ok(())
}
