//! Files appear whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes a file beside its destination and renames it there.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    write_whole_with(path, |mut file| file.write_all(content))
}

/// As [`write_whole`], with content from a function.
pub fn write_whole_with(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(folder_of(path))?;
    write(file.as_file())?;
    // A temporary file is private to its owner; the result has the usual rights.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path)?;
    Ok(())
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A folder for what is needed for a while; it goes away with the value.
pub(crate) fn scratch() -> Result<tempfile::TempDir, crate::Error> {
    tempfile::tempdir().map_err(|e| crate::Error::file(std::env::temp_dir(), e))
}
