//! Files: read through memory maps, written all or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;
use tempfile::NamedTempFile;

/// Maps a regular file. Nothing is read before it is used, and nothing is copied.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    // Asked before opening, because opening a pipe waits for somebody to write to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the map is private and never written to. As with every mapped file, it must not be cut
    // short while it is in use; this crate itself replaces files by renaming, which leaves maps alone.
    let map = unsafe { Mmap::map(&file)? };
    Ok(Bytes::from_owner(map))
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file, all of it or nothing.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = temporary(folder_of(path), |file| file.write_all(content))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// A temporary file in `folder` with the usual permissions, filled by `content`.
pub(crate) fn temporary(
    folder: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let builder = builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".byoc-").tempfile_in(folder)?;
    let mut buffer: BufWriter<&mut File> = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    content(&mut buffer)?;
    buffer.flush()?;
    drop(buffer);
    Ok(file)
}
