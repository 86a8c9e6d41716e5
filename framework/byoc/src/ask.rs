//! The vendors' own checks, asked through their plugins.

use byoc_graph::{Graph, Model, NodeId, Opsets, ValueId};
use byoc_host::adapt::{self, CompositeSpec};
use byoc_host::{CallEnv, Plugin, PluginError};
use byoc_partitioner::{
    Answer, Check, GraphPath, MatchView, Member, Region, RegionComposite, RegionCost, Subgraph,
};

use crate::vendors::Vendor;

/// Asks plugins; a table alone accepts everything.
pub(crate) struct Ask<'a> {
    vendors: &'a [Vendor],
    model: &'a Model,
    env: CallEnv<'a>,
    /// What went wrong while asking, beyond a refusal.
    pub warnings: Vec<String>,
}

impl<'a> Ask<'a> {
    pub fn new(vendors: &'a [Vendor], model: &'a Model, env: CallEnv<'a>) -> Self {
        Ask { vendors, model, env, warnings: Vec::new() }
    }

    /// The vendor's words; a panic or a lost worker is told once, too.
    fn refusal(&mut self, error: &PluginError) -> String {
        if error.error.panicked || error.lost {
            let warning = format!("{} is left out: {error}", error.plugin);
            if !self.warnings.iter().any(|w| w.starts_with(&format!("{} is left out", error.plugin))) {
                self.warnings.push(warning);
            }
        }
        error.error.message.clone()
    }

    fn plugin(&self, vendor: usize) -> Option<&'a Plugin> {
        self.vendors.get(vendor)?.plugin.as_deref()
    }
}

impl Check for Ask<'_> {
    fn check_match(&mut self, view: &MatchView<'_>) -> Result<(), String> {
        let Some(plugin) = self.plugin(view.vendor).filter(|p| p.checks_matches()) else { return Ok(()) };
        let region = match_region(view);
        let Ok(subgraph) = region.subgraph(view.graph) else { return Ok(()) };
        let specs = region_specs(&region, &subgraph);
        let data = adapt::region_data("match", &subgraph.graph, &specs, &self.model.opsets);
        plugin.check_match(&data, self.env).map_err(|error| self.refusal(&error))
    }

    fn check_region(&mut self, region: &Region, graph: &Graph) -> Answer {
        let unknown = Answer::Accept(RegionCost::default());
        let Some((plugin, device)) = self.vendors.get(region.vendor).and_then(Vendor::on_device) else {
            return unknown;
        };
        let Ok(subgraph) = region.subgraph(graph) else { return unknown };
        let specs = region_specs(region, &subgraph);
        let opsets = opsets(region, self.model);
        let data = adapt::region_data(&region.name, &subgraph.graph, &specs, &opsets);
        let answer = plugin.check_region(&data, device.id, self.env);
        match answer {
            Err(error) => Answer::Refuse(self.refusal(&error)),
            Ok(answer) if answer.refused.is_empty() => {
                Answer::Accept(RegionCost { fixed_us: answer.fixed_us, compute_us: answer.compute_us })
            }
            Ok(answer) => Answer::Exclude(outer_nodes(region, &subgraph, &answer.refused)),
        }
    }
}

/// The opsets of the graph that a region is in.
pub(crate) fn opsets(region: &Region, model: &Model) -> Opsets {
    region.graph.opsets(model).clone()
}

/// Nodes that a vendor names by their place in the region that it was shown, as nodes of the graph.
pub(crate) fn outer_nodes(
    region: &Region,
    subgraph: &Subgraph,
    named: &[(usize, String)],
) -> Vec<(NodeId, String)> {
    let order = subgraph.graph.model_order();
    let outer = |index: usize| {
        let inner = order.get(index)?;
        let member = subgraph.nodes.iter().position(|n| n == inner)?;
        Some(region.members[member].node)
    };
    named.iter().filter_map(|(index, why)| Some((outer(*index)?, why.clone()))).collect()
}

/// The composites of a region, as nodes and values of its subgraph.
pub(crate) fn region_specs(region: &Region, subgraph: &Subgraph) -> Vec<CompositeSpec> {
    let node = |member: &Member| {
        let at = region.members.iter().position(|m| m == member)?;
        subgraph.nodes.get(at).copied()
    };
    // A normalisation that is folded into a product is the product's node.
    let nodes = |composite: &RegionComposite| {
        let mut nodes: Vec<NodeId> = composite.members.iter().filter_map(node).collect();
        let mut seen = std::collections::HashSet::new();
        nodes.retain(|n| seen.insert(*n));
        nodes
    };
    let composites = region.composites.iter().zip(&subgraph.bindings);
    composites
        .map(|(composite, bindings)| CompositeSpec {
            pattern: composite.pattern.clone(),
            nodes: nodes(composite),
            bindings: bindings.clone(),
        })
        .collect()
}

/// A match as a region of its own.
fn match_region(view: &MatchView<'_>) -> Region {
    let members: Vec<Member> = view.nodes.iter().map(|&node| Member { node, copy_for: None }).collect();
    let composite = RegionComposite {
        pattern: view.pattern.to_owned(),
        pattern_index: 0,
        root: view.nodes.last().copied().unwrap_or_default(),
        members,
        bindings: view.bindings.to_vec(),
        folded: view.folded.to_vec(),
    };
    let graph = GraphPath { function: None, steps: Vec::new(), text: String::new() };
    let none = Region {
        name: "match".into(),
        vendor: view.vendor,
        vendor_name: String::new(),
        target: String::new(),
        graph,
        members: Vec::new(),
        composites: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        constants: Vec::new(),
        answer: RegionCost::default(),
        predicted_us: None,
    };
    composite_region(view.graph, &none, &composite)
}

/// One composite as a region of its own, which is otherwise like another.
pub(crate) fn composite_region(graph: &Graph, like: &Region, composite: &RegionComposite) -> Region {
    let members = composite.members.clone();
    let inside = |id: NodeId| members.iter().any(|m| m.node == id);
    // A composite with a copy of the maker does not use the maker's value.
    let has_copy = |user: NodeId, maker: NodeId| {
        let has = |c: &RegionComposite, id| c.members.iter().any(|m| m.node == id);
        like.composites.iter().any(|c| has(c, user) && has(c, maker))
    };
    let (mut inputs, mut constants, mut outputs) = (Vec::new(), Vec::new(), Vec::new());
    let push = |list: &mut Vec<ValueId>, value| {
        if !list.contains(&value) {
            list.push(value);
        }
    };
    for member in &members {
        for value in graph.node(member.node).dependencies() {
            let made = graph.value(value).producer().is_some_and(|(node, _)| inside(node));
            match (made, graph.is_constant(value)) {
                (true, _) => {}
                (false, true) => push(&mut constants, value),
                (false, false) => push(&mut inputs, value),
            }
        }
        // What a copy makes is used inside only.
        let made = graph.node(member.node).outputs().iter().flatten();
        for &value in made.filter(|_| member.copy_for.is_none()) {
            let uses = graph.value(value).uses();
            let used_inside = uses.iter().any(|u| inside(u.node));
            let used_outside = uses.iter().any(|u| !inside(u.node) && !has_copy(u.node, member.node));
            if used_outside || !used_inside || graph.is_output(value) {
                push(&mut outputs, value);
            }
        }
    }
    Region { members, composites: vec![composite.clone()], inputs, outputs, constants, ..like.clone() }
}
