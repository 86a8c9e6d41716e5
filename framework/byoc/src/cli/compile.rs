//! `byoc compile`: a model, its placement and what vendors make of their regions, in one file.

use anyhow::bail;
use byoc::bundle::{self, BundledRegion};
use byoc::{Timings, VendorSource};

use super::args::CompileArgs;
use super::place::{self, HostOptions};
use super::ui::{self, Align, Table};

pub fn run(args: &CompileArgs) -> anyhow::Result<()> {
    let (job, path) = (&args.job, &args.job.model.model);
    if bundle::is_bundle(path) {
        bail!("{} is compiled already", path.display());
    }
    if let Some(VendorSource::Table(table)) =
        job.vendors.sources.iter().find(|s| matches!(s, VendorSource::Table(_)))
    {
        bail!("{}: a table has no code that could be compiled; leave it out", table.display());
    }
    let mut timings = Timings::default();
    let host = HostOptions { threads: args.threads, ..HostOptions::default() };
    let session = place::session(job, host, &mut timings)?;
    place::print_summary(&session, &job.common);
    let regions =
        timings.time("write", || bundle::write(&session, path, &job.model.options(), &args.output))?;
    if !job.common.quiet {
        ui::print(&describe(&regions));
        let size = std::fs::metadata(&args.output).map_or(0, |file| file.len());
        ui::note(&format!("wrote {} ({})", args.output.display(), ui::bytes(size)));
    }
    place::write_timings(&job.common, &timings)
}

fn describe(regions: &[BundledRegion]) -> String {
    let mut table =
        Table::new(&[("region", Align::Left), ("vendor", Align::Left), ("artefact", Align::Left)]);
    for region in regions {
        let artefact = match &region.artefact {
            Ok(size) => ui::bytes(*size),
            Err(why) => format!("none, compiled when loaded: {why}"),
        };
        table.row(vec![region.region.clone(), region.vendor.clone(), artefact]);
    }
    if table.is_empty() { String::new() } else { table.render(ui::colour()) }
}
