//! Where OpenVINO's C library may lie.

use std::path::{Path, PathBuf};

const NAME: &str = "libopenvino_c.so";

/// What to try to load, the most wanted first: what was asked for alone, or else what the loader and the Pythons on
/// the search path have.
pub fn candidates(asked: &str) -> Vec<PathBuf> {
    let given = Some(PathBuf::from(asked)).filter(|path| !path.as_os_str().is_empty());
    let given = given.or_else(|| std::env::var_os("OPENVINO_LIB").map(PathBuf::from));
    if let Some(path) = given {
        return if path.is_dir() { in_folder(&path) } else { vec![path] };
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let pythons = std::env::split_paths(&paths).filter(|folder| folder.join("python3").exists());
    let packages = pythons.filter_map(|folder| Some(folder.parent()?.join("lib"))).flat_map(|lib| {
        let versions = entries(&lib).into_iter().filter(|path| file_name(path).starts_with("python3"));
        versions.flat_map(|python| ["site-packages", "dist-packages"].map(|kind| python.join(kind)))
    });
    let wheels = packages.flat_map(|folder| in_folder(&folder.join("openvino/libs")));
    std::iter::once(PathBuf::from(NAME)).chain(wheels).collect()
}

/// The libraries in a folder, `libopenvino_c.so` before `libopenvino_c.so.2641`.
fn in_folder(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| file_name(path).starts_with(NAME));
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_libraries_and_a_file_itself() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libopenvino_c.so.2641", "libopenvino.so", "libopenvino_c.so"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = candidates(folder.path().to_str().unwrap());
        assert_eq!(found, [folder.path().join(NAME), folder.path().join("libopenvino_c.so.2641")]);
        assert_eq!(candidates("some/lib.so"), [PathBuf::from("some/lib.so")]);
    }
}
