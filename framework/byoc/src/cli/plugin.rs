//! `byoc plugin list` and `byoc plugin info`: what lies in the files, without running any of their code.

use byoc_host::{PluginFile, search};

use super::args::{PluginCommand, PluginInfoArgs};
use super::ui::{self, Align, Table};

pub fn run(command: &PluginCommand) -> anyhow::Result<()> {
    match command {
        PluginCommand::List(args) => list(args.json),
        PluginCommand::Info(args) => info(args),
    }
}

fn list(json: bool) -> anyhow::Result<()> {
    // Most libraries in the search folders are none of ours.
    let plugins: Vec<PluginFile> =
        search::libraries().iter().filter_map(|path| PluginFile::read(path).ok()).collect();
    if json {
        let plugins: Vec<_> = plugins.iter().map(describe).collect();
        ui::print(&format!("{}\n", serde_json::to_string_pretty(&plugins)?));
        return Ok(());
    }
    if plugins.is_empty() {
        let folders: Vec<_> = search::folders().iter().map(|f| format!("  {}\n", f.display())).collect();
        ui::print(&format!("no plugins in\n{}", folders.concat()));
        return Ok(());
    }
    let left = Align::Left;
    let mut table = Table::new(&[
        ("name", left),
        ("version", left),
        ("ABI", left),
        ("patterns", Align::Right),
        ("path", left),
    ]);
    for plugin in &plugins {
        let patterns = plugin.table().map_or("damaged".into(), |t| t.patterns.len().to_string());
        let abi = format!("{}.{}", plugin.epoch, plugin.minor);
        let path = plugin.path.display().to_string();
        table.row(vec![plugin.name.clone(), plugin.version.clone(), abi, patterns, path]);
    }
    ui::print(&table.render(ui::colour()));
    Ok(())
}

fn info(args: &PluginInfoArgs) -> anyhow::Result<()> {
    let plugin = PluginFile::read(&search::find(&args.plugin)?)?;
    if args.json {
        ui::print(&format!("{}\n", serde_json::to_string_pretty(&describe(&plugin))?));
        return Ok(());
    }
    if args.table {
        ui::print(&plugin.pattern_table);
        return Ok(());
    }
    let table = plugin.table()?;
    let mut text = format!(
        "{} {}\n  path  {}\n  ABI   {}.{}\n\n",
        plugin.name,
        plugin.version,
        plugin.path.display(),
        plugin.epoch,
        plugin.minor
    );
    let mut rows = Table::new(&[
        ("pattern", Align::Left),
        ("priority", Align::Right),
        ("nodes", Align::Right),
        ("clauses", Align::Right),
    ]);
    for pattern in &table.patterns {
        rows.row(vec![
            pattern.name.clone(),
            pattern.priority.to_string(),
            pattern.statements.len().to_string(),
            pattern.where_.len().to_string(),
        ]);
    }
    text.push_str(&rows.render(ui::colour()));
    ui::print(&text);
    Ok(())
}

fn describe(plugin: &PluginFile) -> serde_json::Value {
    let table = plugin.table();
    let patterns = table.as_ref().map(|t| t.patterns.iter().map(|p| p.name.clone()).collect::<Vec<_>>());
    serde_json::json!({
        "name": plugin.name,
        "version": plugin.version,
        "path": plugin.path,
        "abi": {"epoch": plugin.epoch, "minor": plugin.minor},
        "patterns": patterns.ok(),
        "error": table.err().map(|e| e.to_string()),
    })
}
