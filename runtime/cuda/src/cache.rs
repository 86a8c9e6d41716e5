//! Compiled kernels on disk, by the content of what they were compiled from.

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Turns the cache off.
pub const OFF: &str = "off";

pub struct Cache {
    /// `None`: nothing is kept.
    folder: Option<PathBuf>,
}

impl Cache {
    /// A folder, the usual one where none is named, or none at all.
    pub fn new(asked: &str) -> Cache {
        let folder = match asked {
            OFF => None,
            "" => usual(),
            folder => Some(PathBuf::from(folder)),
        };
        Cache { folder }
    }

    /// What was kept under a key, or else what `make` makes, which is kept.
    pub fn get<E>(&self, key: &[&str], make: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<Vec<u8>, E> {
        let Some(folder) = &self.folder else { return make() };
        let path = folder.join(format!("{}.cubin", digest(key.iter().map(|part| part.as_bytes()))));
        if let Some(kept) = read(&path) {
            return Ok(kept);
        }
        let made = make()?;
        // A cache that cannot be written only costs time.
        let _ = write(folder, &path, &made);
        Ok(made)
    }
}

fn usual() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    Some(caches?.join("byoc/cuda"))
}

/// A name for some content.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Files end with the digest of what stands before, so that a damaged one is never run.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut content = std::fs::read(path).ok()?;
    let seal = content.split_off(content.len().checked_sub(64)?);
    (seal == digest([content.as_slice()]).as_bytes()).then_some(content)
}

fn write(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.write_all(digest([content]).as_bytes())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(content: &str) -> Result<Vec<u8>, ()> {
        Ok(content.into())
    }

    #[test]
    fn what_is_kept_is_not_made_again_and_what_is_damaged_is() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_str().unwrap());
        assert_eq!(cache.get(&["sm_90", "x"], || made("one")).unwrap(), b"one");
        assert_eq!(cache.get(&["sm_90", "x"], || made("two")).unwrap(), b"one");
        assert_eq!(cache.get(&["sm_9", "0x"], || made("two")).unwrap(), b"two");
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let mut content = std::fs::read(&path).unwrap();
            content[0] ^= 1;
            std::fs::write(path, content).unwrap();
        }
        assert_eq!(cache.get(&["sm_90", "x"], || made("three")).unwrap(), b"three");
        assert!(Cache::new(OFF).get(&["x"], || Err::<Vec<u8>, _>("failed")).is_err());
    }
}
