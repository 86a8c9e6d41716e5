//! `byoc demo`: the whole job on a model that byoc builds itself.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::{Context, bail};
use byoc::{Session, Tolerance, Verdict, compare, demo, files, onnx, partition_file, random};

use super::args::DemoArgs;
use super::place;
use super::ui::{self, Align, Table};

const SEED: u64 = 7;

pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let folder = &args.output;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let path = folder.join("model.onnx");
    let model = demo::network(SEED)?;
    onnx::save(&model, &path)?;

    let start = Instant::now();
    let accelerated = Session::builder(&path).plugin(args.plugin.as_str()).build()?;
    let host = Session::load(&path)?;
    place::print_summary(&accelerated, &args.common);

    let inputs: Vec<_> =
        random::fill(host.graph(), &HashMap::new(), &mut HashMap::new(), SEED)?.into_iter().collect();
    let (got, want) = (accelerated.run(&inputs)?, host.run(&inputs)?);
    place::print_fallbacks(&accelerated);

    let report = accelerated.report();
    files::write_whole(&folder.join("report.json"), place::json(report).as_bytes())?;
    let (sources, options) = (vec![byoc::VendorSource::Plugin(args.plugin.clone())], Default::default());
    let mut timings = byoc::Timings::default();
    let done =
        partition_file(&path, &Default::default(), &sources, &options, &Default::default(), &mut timings)?;
    onnx::save(&done.partitioned()?, folder.join("partitioned.onnx"))?;

    let mut table = Table::new(&[
        ("region", Align::Left),
        ("vendor", Align::Left),
        ("nodes", Align::Right),
        ("patterns", Align::Left),
    ]);
    for region in &report.regions {
        let mut patterns: Vec<&str> = Vec::new();
        for composite in &region.composites {
            if !patterns.contains(&composite.pattern.as_str()) {
                patterns.push(&composite.pattern);
            }
        }
        let nodes = region.nodes.len().to_string();
        table.row(vec![
            region.name.clone(),
            region.vendor.clone(),
            nodes,
            ui::shorten(&patterns.join(", "), 60),
        ]);
    }
    ui::print(&table.render(ui::colour()));
    for (vendor, ms) in accelerated.device_ms() {
        // The reference accelerator counts cycles of a nanosecond.
        ui::print(&format!("\n{vendor}: {:.0} cycles a run ({ms:.3} ms of device time)\n", ms * 1e6));
    }
    let mut text = String::new();
    for ((name, want), (_, got)) in want.iter().zip(&got) {
        match compare(got, want, &Tolerance::default(), None) {
            Verdict::Within { .. } => text += &format!("{name}: the accelerator and the host agree\n"),
            Verdict::Off(mismatch) => bail!("output `{name}` differs from the host's: {mismatch}"),
        }
    }
    text += &format!(
        "\nwrote {0}/model.onnx, {0}/partitioned.onnx and {0}/report.json\ndemo passed in {1} ms\n",
        folder.display(),
        start.elapsed().as_millis()
    );
    ui::print(&text);
    Ok(())
}
