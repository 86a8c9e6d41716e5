//! `byoc coverage`: what vendors take of a set of models, and what they lack.

use anyhow::bail;
use byoc::coverage::{Coverage, coverage};
use byoc::files;

use super::args::CoverageArgs;
use super::ui::{self, Align, Progress, Table};

/// Reasons that are shown without `--json`.
const SHOWN: usize = 30;

pub fn run(args: &CoverageArgs) -> anyhow::Result<()> {
    if args.vendors.sources.is_empty() {
        bail!("there is no vendor: name one with --plugin or --table");
    }
    let progress = Progress::new(false);
    let seen = |path: &std::path::Path| progress.show(&path.display().to_string());
    let done = coverage(&args.models, &args.vendors.sources, &args.vendors.options(), &seen)?;
    progress.clear();
    for (path, content) in [(&args.json, done.json()), (&args.html, done.html())] {
        if let Some(path) = path {
            files::write_whole(path, content.as_bytes()).map_err(|e| byoc::Error::file(path, e))?;
        }
    }
    ui::print(&describe(&done));
    match done.models.is_empty() {
        true => bail!("none of {} could be looked at", ui::count(done.failed.len(), "model")),
        false => Ok(()),
    }
}

fn describe(done: &Coverage) -> String {
    let percent = |share: Option<f64>| share.map_or("unknown".to_owned(), |s| format!("{:.2} %", 100.0 * s));
    let mut models = Table::new(&[
        ("model", Align::Left),
        ("nodes", Align::Right),
        ("taken", Align::Right),
        ("regions", Align::Right),
        ("arithmetic", Align::Right),
    ]);
    for model in &done.models {
        models.row(vec![
            ui::shorten(&model.path, 60),
            model.nodes.to_string(),
            model.offloaded.to_string(),
            model.regions.to_string(),
            percent(model.offloaded_flops),
        ]);
    }
    let mut missing = Table::new(&[
        ("operator", Align::Left),
        ("nodes", Align::Right),
        ("models", Align::Right),
        ("arithmetic", Align::Right),
        ("nearest miss", Align::Left),
        ("for example", Align::Left),
    ]);
    for it in done.missing.iter().take(SHOWN) {
        let o = &it.obstacle;
        missing.row(vec![
            o.op.clone(),
            o.nodes.to_string(),
            it.models.to_string(),
            if o.unknown == o.nodes { "unknown".to_owned() } else { percent(o.share) },
            ui::shorten(&o.detail, 80),
            ui::shorten(&o.example, 50),
        ]);
    }
    let mut text = models.render(ui::colour());
    if !missing.is_empty() {
        text += &format!("\nwhat is missing, the most arithmetic first\n\n{}", missing.render(ui::colour()));
    }
    if done.missing.len() > SHOWN {
        text += &format!("\n{} more; all of them with --json\n", done.missing.len() - SHOWN);
    }
    for (path, why) in &done.failed {
        text += &format!("\nnot read: {path}: {why}\n");
    }
    let (taken, all) = done.nodes();
    text + &format!(
        "\n{taken} of {} and {} of the arithmetic of {}\n",
        ui::count(all, "node"),
        percent(done.share()),
        ui::count(done.models.len(), "model")
    )
}
