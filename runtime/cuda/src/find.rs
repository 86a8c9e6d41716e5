//! Where CUDA's libraries may lie.

use std::path::{Path, PathBuf};

/// A library, and where it is looked for.
pub struct Place {
    /// What the dynamic loader is asked for.
    pub name: &'static str,
    /// What its files begin with.
    stem: &'static str,
    /// Names a file or a folder where the option does not.
    variable: &'static str,
    /// Folders below `site-packages`, in the PyPI wheels.
    wheels: &'static [&'static str],
}

pub const DRIVER: Place =
    Place { name: "libcuda.so.1", stem: "libcuda.so", variable: "BYOC_CUDA_DRIVER", wheels: &[] };

pub const NVRTC: Place = Place {
    name: "libnvrtc.so",
    stem: "libnvrtc.so",
    variable: "BYOC_CUDA_NVRTC",
    wheels: &["nvidia/cu13/lib", "nvidia/cuda_nvrtc/lib"],
};

pub const CUBLASLT: Place = Place {
    name: "libcublasLt.so",
    stem: "libcublasLt.so",
    variable: "BYOC_CUDA_CUBLASLT",
    wheels: &["nvidia/cu13/lib", "nvidia/cublas/lib"],
};

pub const CUDNN: Place = Place {
    name: "libcudnn.so.9",
    stem: "libcudnn.so",
    variable: "BYOC_CUDA_CUDNN",
    wheels: &["nvidia/cudnn/lib"],
};

/// Toolkits that are installed for all.
const TOOLKIT: &str = "/usr/local/cuda/lib64";

impl Place {
    /// What to try to load, the most wanted first: what was asked for alone, or else what the loader, an installed
    /// toolkit and the Pythons on the search path have.
    pub fn candidates(&self, asked: &str) -> Vec<PathBuf> {
        let given = Some(PathBuf::from(asked)).filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = given.or_else(|| std::env::var_os(self.variable).map(PathBuf::from)) {
            return if path.is_dir() { files(&path, self.stem) } else { vec![path] };
        }
        let wheels = self.wheels.iter().flat_map(|wheel| {
            site_packages().into_iter().flat_map(move |folder| files(&folder.join(wheel), self.stem))
        });
        let toolkit = files(Path::new(TOOLKIT), self.stem);
        std::iter::once(PathBuf::from(self.name)).chain(toolkit).chain(wheels).collect()
    }

    /// Where it was looked for, for people.
    pub fn searched(&self, asked: &str) -> String {
        let candidates = self.candidates(asked);
        let files: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        let also = match (asked.is_empty(), self.wheels) {
            (true, [_, ..]) => format!(" and `{}` of the Pythons on $PATH", self.wheels.join("`, `")),
            _ => String::new(),
        };
        format!("{}{also}", files.join(", "))
    }
}

/// The files of a folder whose names begin like this, `libnvrtc.so` before `libnvrtc.so.13`.
pub fn files(folder: &Path, stem: &str) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| file_name(path).starts_with(stem));
    found.sort();
    found
}

fn site_packages() -> Vec<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let pythons = std::env::split_paths(&paths).filter(|folder| folder.join("python3").exists());
    let libraries = pythons.filter_map(|folder| Some(folder.parent()?.join("lib")));
    let versions = libraries.flat_map(|folder| entries(&folder));
    let versions = versions.filter(|path| file_name(path).starts_with("python3"));
    versions.flat_map(|python| ["site-packages", "dist-packages"].map(|kind| python.join(kind))).collect()
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
        for name in ["libnvrtc.so.13", "libnvrtc-builtins.so.13.0", "libnvrtc.so"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = NVRTC.candidates(folder.path().to_str().unwrap());
        assert_eq!(found, [folder.path().join("libnvrtc.so"), folder.path().join("libnvrtc.so.13")]);
        assert_eq!(NVRTC.candidates("some/lib.so"), [PathBuf::from("some/lib.so")]);
        assert_eq!(NVRTC.searched("some/lib.so"), "some/lib.so");
    }
}
