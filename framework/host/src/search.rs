//! Where plugins are looked for: `$BYOC_PLUGIN_PATH`, beside the executable, the user's data folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::LoadError;

/// The folders in the order in which they are searched; they need not exist.
pub fn folders() -> Vec<PathBuf> {
    let listed = std::env::var_os("BYOC_PLUGIN_PATH");
    let mut folders: Vec<PathBuf> = listed.iter().flat_map(std::env::split_paths).collect();
    folders.extend(std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned)));
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    folders.extend(data.map(|data| data.join("byoc/plugins")));
    folders.retain(|folder| !folder.as_os_str().is_empty());
    folders
}

/// The library of a plugin given by path or by name.
pub fn find(name_or_path: &str) -> Result<PathBuf, LoadError> {
    find_in(name_or_path, &folders())
}

/// As [`find`], in these folders. `name` may be the plugin's, its crate's or its file's.
pub fn find_in(name_or_path: &str, folders: &[PathBuf]) -> Result<PathBuf, LoadError> {
    let path = Path::new(name_or_path);
    if path.components().count() > 1 || path.extension().is_some() || path.is_file() {
        return Ok(path.to_owned());
    }
    let stem = name_or_path.replace('-', "_");
    let suffix = std::env::consts::DLL_SUFFIX;
    let candidates =
        [format!("lib{stem}{suffix}"), format!("libbyoc_{stem}{suffix}"), format!("{name_or_path}{suffix}")];
    let in_folder =
        |folder: &PathBuf| candidates.iter().map(|file| folder.join(file)).find(|path| path.is_file());
    let not_found = || LoadError::NotFound { name: name_or_path.to_owned(), searched: folders.to_vec() };
    folders.iter().find_map(in_folder).ok_or_else(not_found)
}

/// Every library in the search folders, by folder and then by name. Most need not be plugins.
pub fn libraries() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let suffix = std::env::consts::DLL_EXTENSION;
        let mut here: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        here.retain(|path| path.extension() == Some(OsStr::new(suffix)) && !found.contains(path));
        here.sort();
        found.append(&mut here);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_and_a_path_is_taken_as_it_is() {
        let folder = std::env::temp_dir().join(format!("byoc-search-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let library = folder.join(format!("libbyoc_my_npu{}", std::env::consts::DLL_SUFFIX));
        std::fs::write(&library, "").unwrap();
        let folders = [folder.clone()];
        assert_eq!(find_in("my-npu", &folders).unwrap(), library);
        assert_eq!(find_in("some/lib.so", &folders).unwrap(), Path::new("some/lib.so"));
        let error = find_in("other", &folders).unwrap_err().to_string();
        assert!(error.contains("other") && error.contains(&folder.display().to_string()), "{error}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
