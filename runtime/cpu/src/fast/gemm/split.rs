//! How lengths are cut into tiles, blocks and pieces of work. Tiles and blocks are fixed by the shape alone; pieces also
//! by the number of threads, where results do not depend on them.

use std::ops::Range;

/// A length cut into tiles of `size`, the remainder shared with the last full tile so that neither is tiny.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    len: usize,
    size: usize,
    // Kept, since divisions would be felt beside a small tile.
    count: usize,
    rest: usize,
}

impl Tiles {
    pub(crate) fn new(len: usize, size: usize) -> Self {
        Self { len, size, count: len.div_ceil(size), rest: len % size }
    }

    pub(crate) fn count(self) -> usize {
        self.count
    }

    pub(crate) fn get(self, index: usize) -> Range<usize> {
        let (last, rest) = (self.count - 1, self.rest);
        if rest == 0 || last == 0 || index + 1 < last {
            return index * self.size..self.len.min((index + 1) * self.size);
        }
        let start = (last - 1) * self.size;
        let middle = start + (self.size + rest).div_ceil(2);
        if index == last { middle..self.len } else { start..middle }
    }

    /// The elements of a range of tiles.
    pub(crate) fn span(self, tiles: &Range<usize>) -> Range<usize> {
        if tiles.is_empty() { 0..0 } else { self.get(tiles.start).start..self.get(tiles.end - 1).end }
    }
}

/// The `index`th of `parts` nearly equal parts of `0..len`; several in a row are nearly equal, too.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| len / parts * i + len % parts * i / parts;
    at(index)..at(index + 1)
}

/// Into how many pieces work is cut: of `grain` at most, and equally many for each thread.
pub(crate) fn pieces(work: usize, grain: usize, threads: usize) -> usize {
    /// What of a grain is worth another thread.
    const WORTH: usize = 8;
    let pieces = work.div_ceil(grain).max(threads.min(work / (grain / WORTH).max(1))).max(1);
    if pieces < threads { pieces } else { pieces.next_multiple_of(threads) }
}

/// The least number of parts, `at_least` so many, that together with so many `others` gives each thread equally many pieces.
pub(crate) fn even(at_least: usize, others: usize, threads: usize) -> usize {
    let parts = (1..=threads).find(|parts| (parts * others).is_multiple_of(threads));
    at_least.next_multiple_of(parts.unwrap_or(threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_without_gaps() {
        for size in 1..9 {
            for len in 0..50 {
                let tiles = Tiles::new(len, size);
                let mut at = 0;
                for i in 0..tiles.count() {
                    let tile = tiles.get(i);
                    assert!(tile.start == at && tile.len() <= size && !tile.is_empty(), "{len} by {size}");
                    at = tile.end;
                }
                assert_eq!(at, len);
            }
        }
    }

    #[test]
    fn threads_get_equally_many_pieces() {
        for threads in 1..9 {
            for work in [0, 1, 99, 100, 800, 5000, 123_456] {
                let pieces = pieces(work, 800, threads);
                assert!(pieces >= work.div_ceil(800).max(1) && pieces < work.div_ceil(800).max(1) + threads);
                assert!(pieces < threads || pieces.is_multiple_of(threads), "{work} for {threads}");
                for others in 1..20 {
                    let parts = even(pieces, others, threads);
                    assert!(parts >= pieces && (parts * others).is_multiple_of(threads));
                }
            }
        }
        // What is not worth another thread.
        assert_eq!(pieces(99, 800, 4), 1);
        assert_eq!(pieces(250, 800, 4), 2);
    }

    #[test]
    fn parts_cover_without_gaps() {
        for parts in 1..9 {
            for len in 0..30 {
                let mut at = 0;
                for i in 0..parts {
                    let part = part(len, parts, i);
                    assert_eq!(part.start, at);
                    at = part.end;
                }
                assert_eq!(at, len);
            }
        }
    }
}
