//! Files that are no plugins, and plugins that this host cannot load: one clear error each.

mod common;

use std::path::{Path, PathBuf};

use byoc_host::{Library, LoadError, PluginFile};
use byoc_plugin::abi::section;
use common::built;

fn written(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_is_no_plugin_is_named_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let plugin = std::fs::read(built("byoc_probe")).unwrap();
    let mut other_machine = plugin.clone();
    other_machine[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    let mut narrow = plugin.clone();
    narrow[4] = 1;
    let error = |name: &str, bytes: &[u8]| Library::load(&written(folder, name, bytes)).unwrap_err();

    assert!(matches!(error("text.so", b"not a library"), LoadError::NotALibrary { .. }));
    assert!(matches!(error("empty.so", b""), LoadError::NotALibrary { .. }));
    assert!(matches!(error("machine.so", &other_machine), LoadError::WrongArchitecture { .. }));
    assert!(matches!(error("narrow.so", &narrow), LoadError::WrongArchitecture { .. }));
    assert!(matches!(Library::load(folder).unwrap_err(), LoadError::NotALibrary { .. }));
    assert!(matches!(Library::load(&folder.join("none.so")).unwrap_err(), LoadError::Read { .. }));
}

#[test]
fn a_cut_or_flipped_library_is_refused_or_described_and_never_more() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = std::fs::read(built("byoc_probe")).unwrap();
    for part in 0..64 {
        let path = written(folder.path(), "cut.so", &plugin[..plugin.len() / 64 * part]);
        assert!(Library::load(&path).is_err(), "{part}/64");
    }
    let mut seed = 1u64;
    for _ in 0..300 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut flipped = plugin.clone();
        // The headers decide what is read; most of the rest is code.
        let table = u64::from_le_bytes(plugin[40..48].try_into().unwrap()) as usize;
        let at = if seed & 1 == 0 {
            (seed >> 33) as usize % 64
        } else {
            table + (seed >> 33) as usize % (plugin.len() - table)
        };
        flipped[at] ^= 1 << (seed >> 60 & 7);
        let _ = PluginFile::read(&written(folder.path(), "flipped.so", &flipped));
    }
}

#[test]
fn another_epoch_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = std::fs::read(built("byoc_probe")).unwrap();
    // The magic bytes occur in the section, and perhaps in code that compares them.
    let places =
        plugin.windows(8).enumerate().filter(|(_, window)| *window == section::MAGIC).map(|(at, _)| at);
    let places: Vec<usize> = places.collect();
    assert!(!places.is_empty());
    for place in places {
        plugin[place + 8..place + 12].copy_from_slice(&7u32.to_le_bytes());
    }
    let error = Library::load(&written(folder.path(), "epoch.so", &plugin)).unwrap_err();
    assert!(matches!(error, LoadError::Epoch { theirs: 7, .. }), "{error}");
    assert!(error.to_string().contains("epoch 7"), "{error}");
}

#[test]
fn a_library_without_the_entry_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut plugin = std::fs::read(built("byoc_probe")).unwrap();
    let name = b"byoc_plugin_entry";
    let places =
        plugin.windows(name.len()).enumerate().filter(|(_, window)| window == name).map(|(at, _)| at);
    for place in places.collect::<Vec<_>>() {
        plugin[place..place + name.len()].copy_from_slice(b"byoc_plugin_other");
    }
    let error = Library::load(&written(folder.path(), "other.so", &plugin)).unwrap_err();
    assert!(matches!(error, LoadError::NoEntry { .. }), "{error}");
}
