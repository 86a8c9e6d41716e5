//! `byoc abi`: the layout of the plugin interface, and whether a plugin fits it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use byoc::abi::Layout;
use byoc::verify::{Verdict, interface};
use byoc_host::{PluginFile, search};

use super::args::{AbiCheckArgs, AbiCommand};
use super::{ui, verify};

/// How long a plugin may take to load.
const LIMIT: Duration = Duration::from_secs(30);

pub fn run(command: &AbiCommand) -> anyhow::Result<()> {
    match command {
        AbiCommand::Layout => {
            ui::print(&byoc_plugin::abi::layout_text());
            Ok(())
        }
        AbiCommand::Check(args) => check(args),
    }
}

fn check(args: &AbiCheckArgs) -> anyhow::Result<()> {
    let own = Layout::own();
    let against = args.against.as_deref().map(read).transpose()?.unwrap_or_else(|| own.clone());
    let file = PluginFile::read(&search::find(&args.plugin)?)?;
    let built = format!("{}.{}", file.epoch, file.minor);
    let mut wrong = against.breaks_on(&own);
    if args.against.is_some() && built != against.number() {
        wrong.push(format!("it was built with {built}, not with {}", against.number()));
    }
    ui::print(&format!("{}: built with interface {built}; this host has {}\n", file.name, own.number()));
    match interface(verify::worker_of(&args.plugin)?, LIMIT)? {
        (Verdict::Pass, detail) => ui::print(&format!("  {detail}\n")),
        (_, detail) => wrong.push(detail),
    }
    wrong.iter().for_each(|why| ui::print(&format!("  {why}\n")));
    if !wrong.is_empty() {
        bail!("{} does not fit interface {} on this host", file.name, against.number());
    }
    ui::print(&format!(
        "fits: {} and {} of interface {} are as on this host\n",
        ui::count(against.structs.len(), "struct"),
        ui::count(against.constants.len(), "number"),
        against.number(),
    ));
    Ok(())
}

/// The layout of a version, of a header, or of a file that `byoc abi layout` has written.
fn read(reference: &str) -> anyhow::Result<Layout> {
    if let Some(layout) = Layout::version(reference) {
        return Ok(layout);
    }
    if !Path::new(reference).exists() {
        let known: Vec<&str> = Layout::versions().collect();
        bail!(
            "`{reference}` is neither a file nor a version of the interface, which are {}",
            known.join(", ")
        );
    }
    let path = Path::new(reference);
    let text = std::fs::read_to_string(path).with_context(|| reference.to_owned())?;
    // byoc.h takes the layout from the header beside it.
    let beside = text.contains("#include \"byoc_abi.h\"").then(|| path.with_file_name("byoc_abi.h"));
    let beside = beside.and_then(|path| std::fs::read_to_string(path).ok());
    let layout = Layout::parse(&text).or_else(|| Layout::parse(&beside?));
    layout.with_context(|| {
        format!("{reference}: holds no layout; give byoc_abi.h, or what `byoc abi layout` prints")
    })
}
