//! How lengths are cut into tiles, blocks and pieces of work; all of it fixed by the shape alone.

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

/// The `index`th of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    let at = |i: usize| len / parts * i + (len % parts).min(i);
    at(index)..at(index + 1)
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
