//! A new plugin from the template of its language: a project that builds by itself, outside this repository.
//!
//! The templates are part of this library. They are a plugin named `acme-npu`, whose name and whose dependency on
//! `byoc-plugin` are all that is replaced. What is written appears whole or not at all, and never over something.

mod files;
mod name;
mod write;

use std::fmt::Write;
use std::path::{Path, PathBuf};

pub use name::PluginName;

use crate::Error;

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Cpp,
}

/// Where a new project gets BYOC from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A checkout on this machine.
    Path(PathBuf),
    Git(String),
    /// The registry, in this version.
    Registry,
}

/// A project that has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub folder: PathBuf,
    /// Relative to the folder.
    pub files: Vec<PathBuf>,
    /// What to run there next.
    pub commands: Vec<String>,
}

impl Origin {
    /// The checkout that this executable was built in, else the registry.
    pub fn find() -> Origin {
        let executable = std::env::current_exe().ok();
        let above = executable.iter().flat_map(|path| path.ancestors().skip(1));
        above
            .map(Path::to_owned)
            .find(|folder| plugin_crate(folder).is_some())
            .map_or(Origin::Registry, Origin::Path)
    }

    /// The dependency as a manifest has it.
    fn dependency(&self) -> Result<String, Error> {
        Ok(match self {
            Origin::Path(folder) => {
                let found = plugin_crate(folder).ok_or_else(|| {
                    let folder = folder.display();
                    Error::Other(format!(
                        "{folder}: is no checkout of BYOC: it has no framework/plugin/Cargo.toml"
                    ))
                })?;
                let path = found.canonicalize().map_err(|e| Error::file(&found, e))?;
                format!("{{ path = {} }}", toml_string(&path.display().to_string()))
            }
            Origin::Git(url) => format!("{{ git = {} }}", toml_string(url)),
            Origin::Registry => toml_string(env!("CARGO_PKG_VERSION")),
        })
    }
}

/// The crate `byoc-plugin` of a checkout, or the folder itself where it is that crate.
fn plugin_crate(folder: &Path) -> Option<PathBuf> {
    let is_it = |folder: &PathBuf| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"));
        manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "name = \"byoc-plugin\""))
    };
    [folder.join("framework/plugin"), folder.to_owned()].into_iter().find(is_it)
}

fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Writes a new plugin's project into `folder`, which must not exist or be empty.
pub fn create(
    name: &PluginName,
    language: Language,
    folder: &Path,
    origin: &Origin,
) -> Result<Created, Error> {
    let dependency = if language == Language::Rust { origin.dependency()? } else { String::new() };
    let fill = |text: &str| {
        let text = text.replace(files::NAME, name.as_str()).replace(files::IDENTIFIER, &name.identifier());
        let text = text.replace(files::DEPENDENCY, &dependency);
        match origin {
            Origin::Git(url) => text.replace(files::GIT, url),
            _ => text,
        }
    };
    let template = files::of(language);
    let content: Vec<(PathBuf, String)> =
        template.iter().map(|(path, text)| (PathBuf::from(path), fill(text))).collect();
    write::whole_folder(folder, &content)?;
    let commands = files::commands(language).iter().map(|command| fill(command));
    Ok(Created {
        folder: folder.to_owned(),
        files: content.into_iter().map(|(path, _)| path).collect(),
        commands: commands.collect(),
    })
}

#[cfg(test)]
mod tests;
