//! `byoc new`: a plugin to begin with.

use std::path::PathBuf;

use byoc::new::{self, Origin};

use super::args::NewArgs;
use super::ui;

pub fn run(args: &NewArgs) -> anyhow::Result<()> {
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    let origin = match (&args.byoc_path, &args.byoc_git) {
        (Some(path), _) => Origin::Path(path.clone()),
        (None, Some(url)) => Origin::Git(url.clone()),
        (None, None) => Origin::find(),
    };
    let created = new::create(&args.name, args.lang.into(), &folder, &origin)?;
    let files: Vec<String> = created.files.iter().map(|file| format!("  {}\n", file.display())).collect();
    let commands: Vec<String> = created.commands.iter().map(|command| format!("  {command}\n")).collect();
    ui::print(&format!(
        "wrote {} to {}\n{}\nnext:\n  cd {}\n{}",
        ui::count(files.len(), "file"),
        folder.display(),
        files.concat(),
        folder.display(),
        commands.concat()
    ));
    Ok(())
}
