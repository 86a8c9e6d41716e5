//! Measured times, kept by the content of what was measured: `$XDG_CACHE_HOME/byoc`, or `~/.cache/byoc`.
//!
//! An entry is a file of its own, written whole or not at all; one that cannot be read is none.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::profile::user_folder;
use crate::files;

/// Part of every key: entries of other versions are not found.
const SCHEMA: &str = "byoc.times/1";

/// A folder of entries; without one nothing is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Entry<T> {
    key: String,
    value: T,
}

impl Cache {
    pub fn of_user() -> Cache {
        Cache { folder: user_folder("XDG_CACHE_HOME", ".cache").map(|folder| folder.join("byoc")) }
    }

    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = std::fs::read(self.path(key)?).ok()?;
        let entry: Entry<T> = serde_json::from_slice(&bytes).ok()?;
        (entry.key == key).then_some(entry.value)
    }

    /// A cache that cannot be written is a slow one, and no fault.
    pub fn put<T: Serialize>(&self, key: &str, value: T) {
        let Some(path) = self.path(key) else { return };
        let entry = Entry { key: key.to_owned(), value };
        if let (Some(folder), Ok(bytes)) = (path.parent(), serde_json::to_vec(&entry)) {
            let _ = std::fs::create_dir_all(folder).and_then(|()| files::write_whole(&path, &bytes));
        }
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{key}.json")))
    }
}

/// The key of what all of these parts make up.
pub(crate) fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in [SCHEMA].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Tells a file that was built anew from what it was before, without reading it.
pub(crate) fn build_of(path: &Path) -> String {
    let about = std::fs::metadata(path).ok();
    let changed = about.as_ref().and_then(|about| about.modified().ok()?.duration_since(UNIX_EPOCH).ok());
    format!("{:?} {changed:?}", about.map(|about| about.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_another_entry_is_a_miss() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: Some(folder.path().join("deep")) };
        let (one, two) = (key(&["a", "b"]), key(&["ab"]));
        assert_ne!(one, two);
        assert_eq!(cache.get::<f64>(&one), None);
        cache.put(&one, 2.5);
        assert_eq!(cache.get::<f64>(&one), Some(2.5));
        std::fs::copy(cache.path(&one).unwrap(), cache.path(&two).unwrap()).unwrap();
        assert_eq!(cache.get::<f64>(&two), None);
        for damaged in ["", "{", "{\"key\": 1}", "{\"value\": 3}"] {
            std::fs::write(cache.path(&one).unwrap(), damaged).unwrap();
            assert_eq!(cache.get::<f64>(&one), None, "{damaged}");
        }
        cache.put(&one, 3.5);
        assert_eq!(cache.get::<f64>(&one), Some(3.5));
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let cache = Cache::default();
        cache.put("key", 1.0);
        assert_eq!(cache.get::<f64>("key"), None);
    }
}
