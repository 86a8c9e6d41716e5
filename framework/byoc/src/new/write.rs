//! Writing a folder whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// Writes files, by relative path, into a folder that must not exist or be empty.
pub(super) fn whole_folder(folder: &Path, files: &[(PathBuf, String)]) -> Result<(), Error> {
    let is_there = match fs::read_dir(folder).map(Iterator::count) {
        Ok(0) => true,
        Ok(_) => return Err(exists(folder, "holds something already")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Err(exists(folder, "is a file")),
        Err(e) => return Err(Error::file(folder, e)),
    };
    let write = || -> io::Result<()> {
        if is_there {
            // The folder stays the one that it is, for whoever is in it.
            let staging = stage(folder, files)?;
            move_content(staging.path(), folder)
        } else {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            fs::create_dir_all(parent)?;
            let staging = stage(parent, files)?;
            fs::rename(staging.path(), folder)?;
            // What the guard would remove has another name by now.
            let _ = staging.keep();
            Ok(())
        }
    };
    write().map_err(|e| Error::file(folder, e))
}

fn exists(folder: &Path, why: &str) -> Error {
    Error::Other(format!("{}: {why}; nothing is written over it: choose another folder", folder.display()))
}

/// The files in a folder of their own inside `parent`, which goes away unless it is kept.
fn stage(parent: &Path, files: &[(PathBuf, String)]) -> io::Result<tempfile::TempDir> {
    let staging = tempfile::Builder::new().prefix(".byoc-new-").tempdir_in(parent)?;
    // A temporary folder is private to its owner; the result has the usual rights.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(staging.path(), fs::Permissions::from_mode(0o755))?;
    }
    for (path, text) in files {
        let path = staging.path().join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)?;
    }
    Ok(staging)
}

/// Moves all that is in one folder into another, or nothing.
fn move_content(from: &Path, to: &Path) -> io::Result<()> {
    let entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    for (moved, entry) in entries.iter().enumerate() {
        if let Err(error) = fs::rename(entry.path(), to.join(entry.file_name())) {
            for entry in &entries[..moved] {
                // The first failure is the one to tell.
                let _ = fs::rename(to.join(entry.file_name()), entry.path());
            }
            return Err(error);
        }
    }
    Ok(())
}
