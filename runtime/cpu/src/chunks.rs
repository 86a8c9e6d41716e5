//! Zeroed memory that lasts, cut piece by piece from large mappings: a piece of its own for each weight would lie in small
//! pages to a half and more, since only whole aligned stretches of a mapping can be huge ones.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use memmap2::MmapMut;

use crate::memory::{ALIGN, Line};

/// Of one mapping, unless a piece is larger. What nobody cuts is never touched, so the system does not provide it.
const CHUNK: usize = 64 << 20;
const HUGE: usize = 2 << 20;

/// A mapping, unmapped with the last piece of it.
struct Chunk {
    /// The first address that is a multiple of a huge page.
    start: *mut Line,
    /// Bytes from there.
    len: usize,
    _map: MmapMut,
}

// SAFETY: the chunk itself only keeps its addresses and the mapping.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(len: usize) -> Option<Chunk> {
        let len = len.checked_next_multiple_of(HUGE)?;
        let mut map = MmapMut::map_anon(len.checked_add(HUGE)?).ok()?;
        // Whether the system follows the advice changes nothing but the speed.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let before = map.as_ptr().align_offset(HUGE);
        let start = map.get_mut(before..before.checked_add(len)?)?.as_mut_ptr().cast();
        Some(Chunk { start, len, _map: map })
    }
}

/// Lines of a chunk that nobody else has.
pub(crate) struct Piece {
    start: *mut Line,
    lines: usize,
    _chunk: Arc<Chunk>,
}

// SAFETY: a piece owns its lines as a vector would, and they stay mapped as long as it lives.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

/// The chunk that this thread cuts from, and how many bytes of it are taken.
struct Open {
    chunk: Weak<Chunk>,
    taken: usize,
}

thread_local! {
    static OPEN: RefCell<Open> = const { RefCell::new(Open { chunk: Weak::new(), taken: 0 }) };
}

impl Piece {
    /// At least `len` bytes of zeros; `None` where the system has not that much.
    pub(crate) fn zeroed(len: usize) -> Option<Piece> {
        let len = len.checked_next_multiple_of(ALIGN)?;
        OPEN.with_borrow_mut(|open| {
            let (chunk, at) = match open.chunk.upgrade() {
                Some(chunk) if len <= chunk.len - open.taken => (chunk, open.taken),
                _ => {
                    let chunk = Arc::new(Chunk::new(len.max(CHUNK))?);
                    open.chunk = Arc::downgrade(&chunk);
                    (chunk, 0)
                }
            };
            open.taken = at + len;
            // SAFETY: `at` is inside the chunk, or behind its last line where the piece is empty.
            let start = unsafe { chunk.start.add(at / ALIGN) };
            Some(Piece { start, lines: len / ALIGN, _chunk: chunk })
        })
    }

    pub(crate) fn lines(&self) -> &[Line] {
        // SAFETY: the lines are mapped, of any content valid, and this piece's alone.
        unsafe { std::slice::from_raw_parts(self.start, self.lines) }
    }

    pub(crate) fn lines_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zero_and_apart_however_large_and_wherever_they_end() {
        let sizes = [0, 1, 64, 65, 4096, 3 << 20, CHUNK - (1 << 20), CHUNK, CHUNK + 1, 1000, HUGE];
        let mut pieces: Vec<Piece> = sizes.iter().map(|&size| Piece::zeroed(size).unwrap()).collect();
        for (i, (piece, size)) in pieces.iter_mut().zip(sizes).enumerate() {
            assert_eq!(piece.lines().len(), size.div_ceil(ALIGN));
            let bytes = bytemuck::cast_slice_mut::<_, u8>(piece.lines_mut());
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(i as u8);
        }
        // Whichever goes first, the others keep what they hold, also on another thread.
        pieces.remove(4);
        let kept = std::thread::spawn(move || {
            let full = |piece: &Piece| bytemuck::cast_slice::<_, u8>(piece.lines()).iter().max().copied();
            pieces.iter().filter_map(full).collect::<Vec<u8>>()
        });
        assert_eq!(kept.join().unwrap(), [1, 2, 3, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        assert!(Piece::zeroed(usize::MAX).is_none());
        assert!(Piece::zeroed(usize::MAX - HUGE).is_none());
    }
}
