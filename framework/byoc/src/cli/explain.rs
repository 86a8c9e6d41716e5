//! `byoc partition --explain`: the story of one node, or what keeps most arithmetic on the host.

use std::fmt::Write;

use byoc::Partitioned;
use byoc_partitioner::{Kind, Operand, RoadMap, Story, Taker, Told};
use serde::Serialize;

use super::ui::{self, Align, Table};

/// Obstacles that are shown without `--json`.
const SHOWN: usize = 30;

/// The stories of the nodes of one name.
pub fn node(done: &Partitioned, name: &str, json: bool) -> anyhow::Result<String> {
    let stories = done.partition.stories(&done.model, &done.report, &done.tables, name)?;
    if json {
        return to_json(&stories);
    }
    Ok(stories.iter().map(tell).collect::<Vec<_>>().join("\n"))
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
        let pattern = obstacle.pattern.as_ref().map(|p| format!("{p}: ")).unwrap_or_default();
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
    format!("  {}: {lead}: {}\n    it would take {}\n", told.vendor, told.detail, told.change)
}
