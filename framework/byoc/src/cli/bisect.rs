//! `byoc bisect`: where a vendor leaves the host's result.

use std::collections::HashMap;

use anyhow::{Context, bail};
use byoc::dataset::{self, DataSet};
use byoc::layers::{Drift, Layers};
use byoc::{Datum, Graph, Partitioned, Session, bisect, onnx, random};

use super::args::{BisectArgs, JobArgs};
use super::place;
use super::ui::{self, Align, Table};

pub fn run(args: &BisectArgs) -> anyhow::Result<()> {
    if args.job.vendors.sources.is_empty() {
        bail!("there is no vendor to look for: name one with --plugin");
    }
    let mut timings = byoc::Timings::default();
    let placed = place::partitioned(&args.job, &args.job.placement.placement()?, &mut timings)?;
    let sets = match &args.data {
        Some(data) => {
            let graph = &placed.model.graph;
            let sets = dataset::folders(data)?.into_iter().map(|f| DataSet::read(&f, graph));
            sets.map(|set| Ok(set?.inputs)).collect::<Result<Vec<_>, byoc::Error>>()?
        }
        None => vec![drawn(&placed.model.graph, args.random)?],
    };
    for inputs in &sets {
        let layers = layers(&args.job, &placed, inputs)?;
        if let Some(culprit) = bisect::bisect(&layers)? {
            return tell(args, &culprit);
        }
    }
    ui::print(&format!(
        "{} of the main graph: none is beyond tolerance\n",
        ui::count(placed.partition.regions.iter().filter(|r| r.graph.text == "main").count(), "region")
    ));
    place::write_timings(&args.job.common, &timings)
}

fn drawn(graph: &Graph, seed: u64) -> anyhow::Result<Vec<(String, Datum)>> {
    Ok(random::fill(graph, &HashMap::new(), &mut HashMap::new(), seed)?.into_iter().collect())
}

fn layers<'a>(
    job: &JobArgs,
    placed: &'a Partitioned,
    inputs: &[(String, Datum)],
) -> Result<Layers<'a>, byoc::Error> {
    Layers::new(placed, &job.vendors.sources, &job.vendors.options(), inputs)
}

/// Writes the smallest model that shows the difference, and says so.
fn tell(args: &BisectArgs, culprit: &bisect::Culprit) -> anyhow::Result<()> {
    let folder = &args.output;
    let part = &culprit.part;
    byoc::verify::save(folder, &part.model, &part.inputs, &part.want)?;
    let vendor = folder.join("vendor");
    std::fs::create_dir_all(&vendor).with_context(|| vendor.display().to_string())?;
    for (k, (name, datum)) in culprit.got.iter().enumerate() {
        onnx::write_datum(vendor.join(format!("output_{k}.pb")), name, datum)?;
    }
    let ops: Vec<&str> = {
        let graph = &part.model.graph;
        graph.model_order().into_iter().map(|n| &*graph.node(n).op.name).collect()
    };
    let and_vendors = if culprit.got.is_empty() { "" } else { ", the vendor's in vendor/" };
    ui::print(&format!(
        "{}: {} differs: {}\n  nodes {}\n  as {}\n  wrote {} with its inputs and the host's outputs{and_vendors}\n",
        culprit.region,
        part.name,
        culprit.difference,
        part.nodes.join(", "),
        ops.join(", "),
        folder.join("model.onnx").display(),
    ));
    bail!("{} leaves the host's result in region {}", culprit.vendor, culprit.region)
}

/// `run --compare-layers`: how far each region drifts, given what the host gives it. The vendor of one that is beyond
/// tolerance is called no more.
pub fn compare_layers(job: &JobArgs, session: &Session, inputs: &[(String, Datum)]) -> anyhow::Result<()> {
    let placed = place::partitioned(job, &job.placement.placement()?, &mut byoc::Timings::default())?;
    let layers = layers(job, &placed, inputs)?;
    if layers.regions().is_empty() {
        ui::print("no region of the main graph is a vendor's: there is nothing to compare\n");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("region", Align::Left),
        ("vendor", Align::Left),
        ("nodes", Align::Right),
        ("largest difference", Align::Right),
        ("largest value", Align::Right),
        ("", Align::Left),
    ]);
    let mut wrong = Vec::new();
    for region in layers.regions() {
        let part = layers.whole(region)?;
        let (drift, note) = match layers.compute(&part)? {
            Some(layer) => {
                let found = layer.difference.map(|difference| format!("beyond tolerance, {difference}"));
                let why = found.as_ref().map(|note| format!("region {} is {note}", region.name));
                wrong.extend(why.map(|why| (region.vendor_name.clone(), why)));
                (layer.drift, found.unwrap_or_default())
            }
            None => (Drift::default(), "not taken by itself".to_owned()),
        };
        let lost = if drift.lost > 0 { format!("{} not finite; ", drift.lost) } else { String::new() };
        table.row(vec![
            region.name.clone(),
            region.vendor_name.clone(),
            part.nodes.len().to_string(),
            format!("{:.3e}", drift.largest_difference),
            format!("{:.3e}", drift.largest_value),
            ui::shorten(&format!("{lost}{note}"), 90),
        ]);
    }
    ui::print(&table.render(ui::colour()));
    for (vendor, why) in &wrong {
        session.dismiss(vendor, why)?;
    }
    Ok(())
}
