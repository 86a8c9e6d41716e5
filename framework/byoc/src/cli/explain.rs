//! `byoc partition --explain`: the story of one node or region, or what keeps most arithmetic on the host.

use std::fmt::Write;

use byoc::Partitioned;
use byoc_partitioner::{Kind, Neighbour, Operand, RegionStory, RoadMap, Story, Taker, Told};
use serde::Serialize;

use super::ui::{self, Align, Table};

/// Obstacles that are shown without `--json`.
const SHOWN: usize = 30;

/// A story of either kind.
#[derive(Serialize)]
#[serde(untagged)]
enum Any {
    Region(Box<RegionStory>),
    Node(Box<Story>),
}

/// The stories of the nodes of one name, and of a region that has it.
pub fn name(done: &Partitioned, name: &str, json: bool) -> anyhow::Result<String> {
    let Partitioned { model, partition, report, tables, options, .. } = done;
    let region = partition.region_story(model, tables, options, name);
    let nodes = match partition.stories(model, report, tables, name) {
        Err(unknown) if region.is_none() => return Err(unknown.into()),
        nodes => nodes.unwrap_or_default(),
    };
    let nodes = nodes.into_iter().map(|story| Any::Node(Box::new(story)));
    let stories: Vec<Any> = region.map(|r| Any::Region(Box::new(r))).into_iter().chain(nodes).collect();
    if json {
        return to_json(&stories);
    }
    let told = stories.iter().map(|story| match story {
        Any::Region(region) => tell_region(region),
        Any::Node(node) => tell(node),
    });
    Ok(told.collect::<Vec<_>>().join("\n"))
}

/// What a vendor should add first.
pub fn road_map(done: &Partitioned, json: bool) -> anyhow::Result<String> {
    let map = done.partition.road_map(&done.model, &done.tables);
    if json {
        return to_json(&map);
    }
    Ok(show_map(&map))
}

fn to_json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn show_map(map: &RoadMap) -> String {
    if map.obstacles.is_empty() {
        return "nothing stays on the host that a vendor could have\n".to_owned();
    }
    let mut table = Table::new(&[
        ("vendor", Align::Left),
        ("operator", Align::Left),
        ("nodes", Align::Right),
        ("arithmetic", Align::Right),
        ("nearest miss", Align::Left),
        ("for example", Align::Left),
    ]);
    for obstacle in map.obstacles.iter().take(SHOWN) {
        let share = match obstacle.share {
            _ if obstacle.unknown == obstacle.nodes => "unknown".to_owned(),
            Some(share) => format!("{:.2} %", 100.0 * share),
            None => "-".to_owned(),
        };
        let pattern = obstacle.pattern.as_ref().filter(|p| !obstacle.detail.starts_with(&format!("`{p}`")));
        let pattern = pattern.map(|p| format!("{p}: ")).unwrap_or_default();
        table.row(vec![
            obstacle.vendor.clone(),
            obstacle.op.clone(),
            obstacle.nodes.to_string(),
            share,
            ui::shorten(&format!("{pattern}{}", obstacle.detail), 110),
            ui::shorten(&obstacle.example, 32),
        ]);
    }
    let mut text =
        format!("what keeps arithmetic on the host, the most first\n\n{}", table.render(ui::colour()));
    if map.obstacles.len() > SHOWN {
        let _ = writeln!(text, "\n{} more; all of them with --json", map.obstacles.len() - SHOWN);
    }
    text
}

fn tell(story: &Story) -> String {
    let mut text = format!("{}: {} of graph {}", story.node, story.op, story.graph);
    match (&story.removed, story.target.as_str()) {
        (Some(why), _) => {
            let _ = writeln!(text, ", was taken away before matching: {why}");
            return text;
        }
        (None, "host") => text += ", stays on the host\n",
        (None, vendor) => {
            let _ = writeln!(text, ", goes to {vendor}");
        }
    }
    story.inputs.iter().for_each(|i| text += &operand("takes", i));
    story.outputs.iter().for_each(|o| text += &operand("makes", o));
    if let Some(flops) = story.flops {
        let share = story.share.map(|s| format!(", {:.2} % of the model's", 100.0 * s)).unwrap_or_default();
        let _ = writeln!(text, "  arithmetic: {} operations{share}", flops);
    }
    for taker in &story.taken {
        text += &taken(taker, story.target == "host");
    }
    if !story.reasons.is_empty() {
        let heading =
            if story.target == "host" { "What stood against it" } else { "What else was considered" };
        let _ = writeln!(text, "\n{heading}:");
        story.reasons.iter().for_each(|r| text += &reason(r));
    }
    text
}

fn tell_region(story: &RegionStory) -> String {
    let RegionStory { region, vendor, graph, .. } = story;
    let count = ui::count(story.nodes.len(), "node");
    let mut text = format!("{region}: region of {vendor} in graph {graph}, {count}\n");
    story.inputs.iter().for_each(|i| text += &operand("takes", i));
    story.outputs.iter().for_each(|o| text += &operand("makes", o));
    let constants = ui::count(story.constants, "constant");
    let _ = writeln!(text, "  holds {constants}, {}", ui::bytes(story.constant_bytes));
    let _ = writeln!(text, "  arithmetic: {} operations", story.flops);
    if let Some(us) = story.predicted_us {
        let _ = writeln!(text, "  is predicted to take {us:.1} µs");
    }
    let composites = story.composites.iter().map(|(pattern, n)| format!("{n} × `{pattern}`"));
    let _ = writeln!(text, "  composites: {}", composites.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "  nodes: {}", shown(&story.nodes, 12));
    if story.neighbours.is_empty() {
        text.push_str("\nNothing borders on it.\n");
    } else {
        text.push_str("\nWhat stands against more:\n");
        story.neighbours.iter().for_each(|n| text += &neighbour(n));
    }
    if story.apart > 0 {
        let regions = ui::count(story.apart, "more region");
        let _ = writeln!(text, "\n{vendor} has {regions} that no edge joins with it; see --merge-siblings");
    }
    text
}

fn neighbour(neighbour: &Neighbour) -> String {
    let names = shown(&neighbour.nodes, 4);
    match &neighbour.op {
        Some(op) => format!("  {op} on the host ({names}):\n  {}", reason(&neighbour.why)),
        None if neighbour.why.pattern.is_some() => {
            format!("  region {} ({names}):\n  {}", neighbour.target, reason(&neighbour.why))
        }
        None => format!(
            "  region {} ({names}): {}\n    it would take {}\n",
            neighbour.target, neighbour.why.detail, neighbour.why.change
        ),
    }
}

fn shown(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most {
        let _ = write!(text, ", … ({} in all)", names.len());
    }
    text
}

fn operand(verb: &str, operand: &Operand) -> String {
    let ty = operand.ty.as_deref().unwrap_or("of unknown type");
    let constant = if operand.constant { ", a constant" } else { "" };
    format!("  {verb} {} {ty}{constant}\n", operand.name)
}

fn taken(taker: &Taker, copy: bool) -> String {
    let what = if copy { "A copy of it is" } else { "It is" };
    let mut text = format!(
        "\n{what} in region {} of {} ({}), matched by `{}`: {}\n",
        taker.region,
        taker.vendor,
        ui::count(taker.region_nodes, "node"),
        taker.pattern,
        taker.nodes.join(", ")
    );
    for (name, value) in &taker.bindings {
        let _ = writeln!(text, "  {name} = {value}");
    }
    if let Some(us) = taker.predicted_us {
        let _ = writeln!(text, "  the region is predicted to take {us:.1} µs");
    }
    text
}

fn reason(told: &Told) -> String {
    let pattern = told.pattern.as_ref().map(|p| format!("`{p}` ")).unwrap_or_default();
    let lead = match told.kind {
        Kind::NoPattern => "has nothing for it".to_owned(),
        Kind::Structure | Kind::Attribute => format!("{pattern}came near"),
        Kind::Where => format!("{pattern}fits, but a clause does not hold"),
        Kind::Escape => format!("{pattern}fits, but a value inside is used outside"),
        Kind::Cycle => format!("{pattern}fits, but would close a cycle"),
        Kind::Taken => format!("{pattern}fits, but another came first"),
        Kind::Limit => format!("{pattern}meets a limit"),
        Kind::Cost => format!("{pattern}fits, but does not pay"),
        Kind::User => "was kept from it".to_owned(),
        Kind::Vendor => format!("{pattern}fits, but the vendor refuses"),
        Kind::Compile => "failed to compile it".to_owned(),
    };
    let besides = told.besides.as_ref().map(|b| format!("\n    and then: {b}")).unwrap_or_default();
    format!("  {}: {lead}: {}{besides}\n    it would take {}\n", told.vendor, told.detail, told.change)
}
