//! The arena: one buffer, cut by each step into the pieces that the step reads and writes.
//!
//! Cutting is by `split_at_mut`, so pieces that overlap are found here, whatever the plan said.

use smallvec::SmallVec;

/// A piece of the arena, for the duration of one step.
pub(crate) enum Piece<'a> {
    Read(&'a [u8]),
    Write(&'a mut [u8]),
    Taken,
}

pub(crate) type Pieces<'a> = SmallVec<[Piece<'a>; 6]>;

/// Byte ranges of the arena that a step needs, in ascending order and disjoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cuts {
    pieces: SmallVec<[Cut; 6]>,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    start: usize,
    end: usize,
    write: bool,
}

impl Cuts {
    /// Pieces in ascending order. `write` says whether the step writes the piece.
    pub fn new(ranges: impl IntoIterator<Item = (std::ops::Range<usize>, bool)>) -> Cuts {
        let pieces = ranges.into_iter().map(|(r, write)| Cut { start: r.start, end: r.end, write });
        Cuts { pieces: pieces.collect() }
    }

    /// Adds the pieces to `to`, where they stay: moving so many would be felt beside a small step.
    ///
    /// # Panics
    /// If they overlap, which is a mistake of the plan.
    pub fn cut<'a>(&self, arena: &'a mut [u8], to: &mut Pieces<'a>) {
        let (mut rest, mut at) = (arena, 0);
        for piece in &self.pieces {
            let gap = piece.start.checked_sub(at).expect("pieces of a step do not overlap");
            let (_, behind) = std::mem::take(&mut rest).split_at_mut(gap);
            let (bytes, behind) = behind.split_at_mut(piece.end - piece.start);
            (rest, at) = (behind, piece.end);
            to.push(if piece.write { Piece::Write(bytes) } else { Piece::Read(bytes) });
        }
    }
}

impl<'a> Piece<'a> {
    pub fn read(&self) -> Option<&'a [u8]> {
        match self {
            Piece::Read(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn write(&mut self) -> Option<&'a mut [u8]> {
        match std::mem::replace(self, Piece::Taken) {
            Piece::Write(bytes) => Some(bytes),
            other => {
                *self = other;
                None
            }
        }
    }
}
