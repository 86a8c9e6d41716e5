//! Memory that both processes see. It has no name, and is gone with the last process that has it open.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};

/// Mapped memory of another process, too. What is in it may change at any moment, so it is read by copies only, or
/// lent to those who computed it.
pub(super) struct Shared {
    map: MmapRaw,
}

impl Shared {
    /// New memory of zeros, whose size is settled, with what the other process needs to map it.
    pub fn create(len: usize) -> io::Result<(Shared, OwnedFd)> {
        let fd = memfd_create("byoc", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, len as u64)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        let map = MmapOptions::new().len(len).map_raw(&fd)?;
        Ok((Shared { map }, fd))
    }

    /// Lets nobody else write from now on.
    pub fn forbid_writing(fd: &OwnedFd) -> io::Result<()> {
        Ok(fcntl_add_seals(fd, SealFlags::FUTURE_WRITE)?)
    }

    /// Maps what the other process has made.
    pub fn map(fd: BorrowedFd<'_>, len: usize, writable: bool) -> io::Result<Shared> {
        let bad = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if !fcntl_get_seals(fd)?.contains(SealFlags::SHRINK) {
            return bad("shared memory could shrink");
        }
        if len == 0 || u64::try_from(fstat(fd)?.st_size).map_or(true, |size| size < len as u64) {
            return bad("shared memory is smaller than it was said to be");
        }
        let mut options = MmapOptions::new();
        let options = options.len(len);
        let map = if writable { options.map_raw(&fd)? } else { options.map_raw_read_only(&fd)? };
        Ok(Shared { map })
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Where a piece begins; `None` where it does not lie inside.
    pub fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        let end = offset.checked_add(len)?;
        (end <= self.len()).then(|| self.map.as_mut_ptr().wrapping_add(offset))
    }

    /// Copies in; false where it does not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(to) = self.at(offset, bytes.len()) else { return false };
        // SAFETY: `at` has found so many bytes there; they are of another mapping than `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        true
    }

    /// Whether these bytes lie there.
    pub fn holds(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(at) = self.at(offset, bytes.len()) else { return false };
        // SAFETY: `at` has found so many bytes there.
        bytes == unsafe { std::slice::from_raw_parts(at, bytes.len()) }
    }

    /// Copies out; false where it does not lie inside.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> bool {
        let Some(from) = self.at(offset, bytes.len()) else { return false };
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
        true
    }
}

/// Memory that holds these bytes and that nobody else can write.
pub(super) fn holding(bytes: &[u8]) -> io::Result<(Shared, OwnedFd)> {
    let (shared, fd) = Shared::create(bytes.len().max(1))?;
    shared.write(0, bytes);
    Shared::forbid_writing(&fd)?;
    Ok((shared, fd))
}

/// A piece of memory that the other process has written before it told of it, and does not touch afterwards.
pub(super) fn piece(shared: &Arc<Shared>, offset: u64, len: u64) -> Option<Bytes> {
    let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
    shared.at(offset, len)?;
    Some(Bytes::from_owner(Piece { shared: Arc::clone(shared), offset, len }))
}

struct Piece {
    shared: Arc<Shared>,
    offset: usize,
    len: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `piece` has found so many bytes there, which stay mapped as long as `self.shared` does.
        unsafe { std::slice::from_raw_parts(self.shared.map.as_ptr().wrapping_add(self.offset), self.len) }
    }
}

/// The one descriptor that a message has to have.
pub(super) fn only(fds: Vec<OwnedFd>) -> Option<OwnedFd> {
    let mut fds = fds.into_iter();
    fds.next().filter(|_| fds.len() == 0)
}

/// Borrowed for a message.
pub(super) fn lend(fd: &OwnedFd) -> [BorrowedFd<'_>; 1] {
    [fd.as_fd()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads_and_no_more() {
        let (ours, fd) = Shared::create(100).unwrap();
        let theirs = Arc::new(Shared::map(fd.as_fd(), 100, false).unwrap());
        assert!(ours.write(10, b"abc") && !ours.write(98, b"abc") && !ours.write(usize::MAX, b"abc"));
        assert_eq!(&piece(&theirs, 10, 3).unwrap()[..], b"abc");
        assert!(piece(&theirs, 98, 3).is_none() && piece(&theirs, u64::MAX, 3).is_none());
        let mut read = [0; 3];
        assert!(theirs.read(10, &mut read) && !theirs.read(99, &mut read));
        assert_eq!(&read, b"abc");
        assert!(ftruncate(&fd, 10).is_err() && ftruncate(&fd, 1000).is_err());
        assert!(Shared::map(fd.as_fd(), 101, false).is_err());
        Shared::forbid_writing(&fd).unwrap();
        assert!(Shared::map(fd.as_fd(), 100, true).is_err() && ours.write(0, b"x"));
        let unsealed = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 100).unwrap();
        assert!(Shared::map(unsealed.as_fd(), 100, false).is_err());
    }
}
