//! Offsets in the arena for the storages whose size is known.
//!
//! Largest first, each at the best fit: the smallest gap, among the storages placed before it that live at the
//! same time, that holds it; behind them all where there is none (Pisarchyk and Lee, "Efficient Memory
//! Management for Deep Neural Net Inference", 2020, section 5.2, greedy by size).

use std::ops::{Range, RangeInclusive};

use byoc_graph::StaticDims;
use smallvec::SmallVec;

use super::arena::Pieces;
use super::parts::{self, Inside, Kept};
use super::stretches::{self, Starts};
use super::{Cuts, Storage, StorageIndex};
use crate::device::{Access, Devices, HOST, Queue, Space, StepOrder, Touch, What, order};

pub(super) const ALIGN: usize = 64;

/// The memory of one execution, for one binding of the symbolic dimensions.
#[derive(Debug, Default)]
pub(crate) struct MemoryPlan {
    /// What the dimensions were bound to.
    pub binding: SmallVec<[i64; 4]>,
    /// Bytes that the arena in host memory takes.
    pub size: usize,
    /// By device: bytes that its arena takes.
    pub device_sizes: Vec<usize>,
    /// By storage: its place in the arena of its space.
    pub places: Vec<Option<Range<usize>>>,
    /// Dimensions of each value, where they are known.
    pub dims: Vec<Option<StaticDims>>,
    pub steps: Vec<StepCuts>,
    /// By step, where any step is enqueued.
    pub order: Vec<StepOrder>,
}

/// How a step's operands lie in the arena.
#[derive(Debug, Default)]
pub(crate) struct StepCuts {
    pub cuts: Cuts,
    /// Where each input lies; `None` outside of the arena.
    pub inputs: SmallVec<[Option<Within>; 4]>,
    /// The piece of each output.
    pub outputs: SmallVec<[Option<u16>; 2]>,
    pub stays: Stays,
}

/// A range of a piece.
#[derive(Debug)]
pub(crate) struct Within {
    piece: u16,
    range: Range<usize>,
}

impl StepCuts {
    /// The bytes of input `i`.
    pub fn read<'a>(&self, pieces: &Pieces<'a>, i: usize) -> Option<&'a [u8]> {
        let Within { piece, range } = self.inputs[i].as_ref()?;
        pieces[usize::from(*piece)].read()?.get(range.clone())
    }
}

/// Whether a step has nothing to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Stays {
    #[default]
    No,
    /// The inputs lie in the place of output 0, one behind the other.
    Joined,
    /// The outputs lie in the place of input 0.
    Viewed,
    /// The outputs lie in what is there for the whole run, an input or a constant: which, and the bytes before each.
    Lent(Vec<(StorageIndex, usize)>),
}

/// Storages of a step's operands, and where it is enqueued.
pub(crate) struct Operands {
    pub queue: Option<Queue>,
    pub inputs: SmallVec<[Option<StorageIndex>; 4]>,
    pub outputs: SmallVec<[Option<StorageIndex>; 2]>,
    /// The bytes of output 0 are those of the inputs, one behind the other.
    pub joins: bool,
    /// The bytes of input 0 before each output, where each is a stretch of it.
    pub starts: Option<Starts>,
}

impl MemoryPlan {
    /// Plans for `sizes`, in bytes by storage; `None` where unknown.
    pub fn new(
        binding: SmallVec<[i64; 4]>,
        dims: Vec<Option<StaticDims>>,
        storages: &[Storage],
        sizes: &[Option<usize>],
        devices: &Devices,
        steps: &[Operands],
    ) -> MemoryPlan {
        let mut places = vec![None; storages.len()];
        let mut kept = parts::find(storages, sizes, steps);
        stretches::find(storages, sizes, steps, &mut kept);
        let Kept { inside, joined, viewed } = kept;
        let aligns = [ALIGN].into_iter().chain(devices.iter().map(|d| d.align));
        let mut arenas: Vec<usize> = aligns
            .enumerate()
            .map(|(space, align)| {
                let (size, placed) = place(wanted(storages, sizes, &inside, space, align));
                for (i, offset) in placed {
                    places[i] = Some(offset..offset + sizes[i].expect("only known sizes are placed"));
                }
                size
            })
            .collect();
        for storage in (0..storages.len()).filter(|&s| inside[s].is_some()) {
            let (whole, before) = parts::outermost(&inside, storage);
            let at = |whole: &Range<usize>| {
                whole.start + before..whole.start + before + sizes[storage].unwrap_or(0)
            };
            places[storage] = places[whole].as_ref().map(at);
        }
        let device_sizes = arenas.split_off(1);
        let touches: Vec<Touch> = steps.iter().map(|step| step.touch(storages, &places)).collect();
        let order = order(&touches);
        let on_host = |(i, place): (usize, &Option<Range<usize>>)| {
            let on_host = matches!(storages[i], Storage::Made { space: HOST, .. });
            place.clone().filter(|_| on_host)
        };
        let host: Vec<_> = places.iter().enumerate().map(on_host).collect();
        let stays = |i: usize| match (joined[i], viewed[i]) {
            (true, _) => Stays::Joined,
            (_, true) => stretches::stays(storages, &inside, &steps[i]),
            _ => Stays::No,
        };
        let steps = (0..steps.len()).map(|i| cuts(&steps[i], stays(i), &host)).collect();
        MemoryPlan { binding, size: arenas[0], device_sizes, places, dims, steps, order }
    }
}

impl Operands {
    /// Outputs that are stretches of input 0, with that input and the bytes before them there.
    pub fn views(&self) -> impl Iterator<Item = (StorageIndex, StorageIndex, usize)> {
        let source = self.inputs.first().copied().flatten();
        let starts = self.starts.iter().flatten();
        self.outputs
            .iter()
            .zip(starts)
            .filter_map(move |(output, start)| Some(((*output)?, source?, (*start)?)))
    }

    /// What the step touches of what other steps do.
    fn touch(&self, storages: &[Storage], places: &[Option<Range<usize>>]) -> Touch {
        let access = |storage: StorageIndex, writes| {
            let Storage::Made { space, .. } = storages[storage] else { return None };
            let what = match &places[storage] {
                Some(place) => What::Arena(space, place.clone()),
                None => What::Storage(storage),
            };
            Some(Access { what, writes })
        };
        let reads = self.inputs.iter().flatten().filter_map(|&s| access(s, false));
        let writes = self.outputs.iter().flatten().filter_map(|&s| access(s, true));
        Touch { queue: self.queue, accesses: reads.chain(writes).collect() }
    }
}

/// The storages of a space that have a place in its arena.
fn wanted(
    storages: &[Storage],
    sizes: &[Option<usize>],
    inside: &Inside,
    space: Space,
    align: usize,
) -> Vec<Wanted> {
    let lives = parts::lives(storages, inside);
    let wanted = storages.iter().enumerate().filter_map(|(i, storage)| match storage {
        Storage::Made { output: None, space: at, .. } if *at == space && inside[i].is_none() => {
            // On a device even a tensor without elements has an address of its own.
            let size = sizes[i]?.max(usize::from(space != HOST));
            Some((i, size.checked_next_multiple_of(align)?, lives[i].clone()?))
        }
        _ => None,
    });
    wanted.collect()
}

type Wanted = (StorageIndex, usize, RangeInclusive<usize>);

/// Gives each storage an offset; also returns the size of the whole. What would not fit an address is left out.
fn place(mut wanted: Vec<Wanted>) -> (usize, Vec<(StorageIndex, usize)>) {
    wanted.sort_by_key(|(i, size, _)| (std::cmp::Reverse(*size), *i));
    // Ascending by offset.
    let mut placed: Vec<(usize, usize, RangeInclusive<usize>)> = Vec::new();
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut total = 0;
    for (i, size, life) in wanted {
        let mut best: Option<(usize, usize)> = None;
        let mut end = 0;
        for (start, stop, other) in &placed {
            if other.end() < life.start() || life.end() < other.start() {
                continue;
            }
            let gap = start.saturating_sub(end);
            if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = end.max(*stop);
        }
        let offset = best.map_or(end, |(_, offset)| offset);
        let Some(stop) = offset.checked_add(size).filter(|&stop| stop <= isize::MAX as usize) else {
            continue;
        };
        let at = placed.partition_point(|(start, ..)| *start <= offset);
        placed.insert(at, (offset, stop, life));
        offsets.push((i, offset));
        total = total.max(stop);
    }
    (total, offsets)
}

fn cuts(step: &Operands, stays: Stays, places: &[Option<Range<usize>>]) -> StepCuts {
    let range =
        |storage: &Option<StorageIndex>| storage.and_then(|s| places[s].clone()).filter(|r| !r.is_empty());
    let reads = step.inputs.iter().filter_map(range).map(|r| (r, false));
    // Should the one not lie within the other after all, the outputs are made elsewhere.
    let outputs = if stays == Stays::No { &step.outputs[..] } else { &[] };
    let writes = outputs.iter().filter_map(range).map(|r| (r, true));
    let mut all: Vec<(Range<usize>, bool)> = writes.chain(reads).collect();
    // What is read and written (in place) is one piece, and so is what is read and overlaps; the writer comes first.
    all.sort_by_key(|(r, write)| (r.start, !write));
    let mut pieces: Vec<(Range<usize>, bool)> = Vec::with_capacity(all.len());
    for (range, write) in all {
        match pieces.last_mut() {
            Some((last, _)) if *last == range => {}
            Some((last, false)) if !write && range.start < last.end => last.end = last.end.max(range.end),
            _ => pieces.push((range, write)),
        }
    }
    let piece = |storage: &Option<StorageIndex>| {
        let range = range(storage)?;
        let at = pieces.iter().position(|(r, _)| r.start <= range.start && range.end <= r.end)?;
        let from = pieces[at].0.start;
        Some(Within { piece: u16::try_from(at).ok()?, range: range.start - from..range.end - from })
    };
    let made = |storage| piece(storage).filter(|_| stays == Stays::No).map(|within| within.piece);
    StepCuts {
        inputs: step.inputs.iter().map(piece).collect(),
        outputs: step.outputs.iter().map(made).collect(),
        cuts: Cuts::new(pieces),
        stays,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn storages_that_live_together_lie_apart(
            all in proptest::collection::vec((1usize..5000, 0usize..40, 0usize..12), 0..60)
        ) {
            let wanted: Vec<Wanted> = all
                .iter()
                .enumerate()
                .map(|(i, (size, from, len))| (i, size.next_multiple_of(ALIGN), *from..=from + len))
                .collect();
            let (total, placed) = place(wanted.clone());
            prop_assert_eq!(placed.len(), wanted.len());
            for (n, (i, a)) in placed.iter().enumerate() {
                prop_assert_eq!(a % ALIGN, 0);
                prop_assert!(a + wanted[*i].1 <= total);
                for (j, b) in &placed[..n] {
                    let together = wanted[*i].2.start() <= wanted[*j].2.end()
                        && wanted[*j].2.start() <= wanted[*i].2.end();
                    let apart = a + wanted[*i].1 <= *b || b + wanted[*j].1 <= *a;
                    prop_assert!(!together || apart, "{:?} and {:?}", wanted[*i], wanted[*j]);
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_places() {
        let chain = (0..10).map(|i| (i, 640, i..=i + 1)).collect();
        assert_eq!(place(chain).0, 1280);
    }
}
