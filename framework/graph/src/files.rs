//! Files: read through memory maps, written all or nothing.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use tempfile::NamedTempFile;

/// Maps a regular file. Nothing is read before it is used, and nothing is copied.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    MappedFiles::default().map(path)
}

/// The files whose maps a model's content lies in, known so that their pages can be given back to the system.
#[derive(Clone, Debug, Default)]
pub struct MappedFiles(Vec<MappedFile>);

#[derive(Clone, Debug)]
struct MappedFile(Arc<Mmap>);

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MappedFiles {
    /// As [`map`], and remembers the map.
    pub(crate) fn map(&mut self, path: &Path) -> io::Result<Bytes> {
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
        let map = MappedFile(Arc::new(unsafe { Mmap::map(&file)? }));
        self.0.push(map.clone());
        Ok(Bytes::from_owner(map))
    }

    pub(crate) fn append(&mut self, other: MappedFiles) {
        self.0.extend(other.0);
    }

    /// Gives the memory of `content` back where it lies in one of these files; it is read anew when it is
    /// next used. Content on the heap is left alone.
    pub fn release(&self, content: &[u8]) {
        for file in &self.0 {
            file.release(content);
        }
    }

    /// Gives the memory of all files back.
    pub fn release_all(&self) {
        for file in &self.0 {
            file.release(&file.0);
        }
    }
}

impl MappedFile {
    #[cfg(unix)]
    fn release(&self, content: &[u8]) {
        let (map, content) = (self.0.as_ptr_range(), content.as_ptr_range());
        if content.is_empty() || content.start < map.start || content.end > map.end {
            return;
        }
        let (offset, len) =
            (content.start.addr() - map.start.addr(), content.end.addr() - content.start.addr());
        // SAFETY: the range lies in this map, which is read-only: its pages hold what the file holds, and
        // whoever reads them afterwards gets them from there again.
        let done = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) };
        // A system that keeps the pages all the same does no harm.
        drop(done);
    }

    #[cfg(not(unix))]
    fn release(&self, _: &[u8]) {}
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Bytes of the map that begins where `content` does which are in memory.
    fn resident(content: &[u8]) -> usize {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let start = format!("{:x}-", content.as_ptr().addr());
        let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the map is listed");
        rss.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    #[test]
    fn pages_are_given_back_and_read_anew() {
        let content: Vec<u8> = (0..1 << 20).map(|i: u32| (i % 251) as u8).collect();
        let file = temporary(&std::env::temp_dir(), |file| file.write_all(&content)).unwrap();
        let mut files = MappedFiles::default();
        let mapped = files.map(file.path()).unwrap();

        assert_eq!(mapped, content);
        assert_eq!(resident(&mapped), content.len());
        files.release(&mapped.slice(content.len() / 2..));
        assert_eq!(resident(&mapped), content.len() / 2);
        files.release_all();
        assert_eq!(resident(&mapped), 0);
        assert_eq!(mapped, content);
    }

    #[test]
    fn content_that_is_not_mapped_is_left_alone() {
        let file = temporary(&std::env::temp_dir(), |file| file.write_all(&[1; 1 << 16])).unwrap();
        let mut files = MappedFiles::default();
        let _mapped = files.map(file.path()).unwrap();
        let heap = vec![7u8; 1 << 20];
        files.release(&heap);
        files.release(&[]);
        assert!(heap.iter().all(|&b| b == 7));
    }
}
