//! A vendor outside this repository builds against `byoc-plugin` alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use byoc_host::{Library, PluginFile};

const SOURCE: &str = r#"
//! All that a vendor has to write: no `unsafe`, no negotiation.
use byoc_plugin::{CompileContext, Error, Executable, Options, Plugin, Region, Result};

struct Acme;

impl Plugin for Acme {
    fn open(_: &Options) -> Result<Self> {
        Ok(Acme)
    }

    fn compile(&self, region: &Region<'_>, _: &CompileContext<'_>) -> Result<Box<dyn Executable>> {
        Err(Error::unsupported(format!("{} nodes are too many", region.nodes.len())))
    }
}

byoc_plugin::export_plugin!(Acme, table = "[vendor]\nname = \"acme\"\n[[pattern]]\nname = \"add\"\nmatch = \"y = Add(a, b)\"\n");
"#;

/// A crate in a folder of its own, with a workspace of its own.
fn write_crate(folder: &Path) {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin").canonicalize().unwrap();
    let manifest = format!(
        "[package]\nname = \"acme\"\nversion = \"3.2.1\"\nedition = \"2024\"\n[workspace]\n\
         [lib]\ncrate-type = [\"cdylib\"]\n[dependencies]\nbyoc-plugin = {{ path = {plugin:?} }}\n"
    );
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/lib.rs"), SOURCE).unwrap();
    // The same versions as here, so that nothing has to be fetched.
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock"), folder.join("Cargo.lock"))
        .unwrap();
}

fn cargo(folder: &Path, command: &str, panic: &str) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--offline"]).current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target"));
    cargo.env("CARGO_PROFILE_DEV_PANIC", panic).env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("RUSTFLAGS");
    cargo.output().unwrap()
}

#[test]
fn a_plugin_of_another_workspace_is_built_listed_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    write_crate(folder.path());
    let output = cargo(folder.path(), "build", "unwind");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let library: PathBuf = folder.path().join("target/debug/libacme.so");
    let file = PluginFile::read(&library).unwrap();
    assert_eq!((file.name.as_str(), file.version.as_str()), ("acme", "3.2.1"));
    assert_eq!(Library::load(&library).unwrap().table.patterns.len(), 1);

    let output = cargo(folder.path(), "check", "abort");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("must be built with `panic"), "{message}");
}
