//! Storages that are stretches of others: what a Slice or a Split takes is read where it lies, and it moves nothing.

use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};

use byoc_cpu::Kernel;
use byoc_graph::{DType, StaticDims};
use smallvec::SmallVec;

use super::parts::{Inside, Kept, life, outermost, writes};
use super::plan::{ALIGN, Operands, Stays};
use super::{Storage, StorageIndex};
use crate::frame::bytes_of;

/// By output: the bytes before it.
pub(crate) type Starts = SmallVec<[Option<usize>; 2]>;

/// A view that is so much smaller than what it is of, and is needed longer, is copied: the rest would lie idle.
const SMALL: usize = 8;

/// The bytes of input 0 before each output that somebody wants, if a kernel says that each is a stretch of it and
/// such as kernels may read. `outputs` has the dimensions that are expected of them, as far as known.
pub(crate) fn starts<'a>(
    kernel: &dyn Kernel,
    (dtype, dims): (DType, &[usize]),
    outputs: impl Iterator<Item = Option<Option<&'a StaticDims>>>,
) -> Option<Starts> {
    bytes_of(dtype, dims).filter(|&bytes| bytes > 0 && dtype.bits() % 8 == 0)?;
    let stretches = kernel.stretches(dims)?;
    let start = |(output, i): (Option<Option<&StaticDims>>, usize)| {
        let Some(expected) = output else { return Some(None) };
        let stretch = stretches.get(i)?;
        let start = stretch.start * (dtype.bits() / 8);
        (start.is_multiple_of(ALIGN) && expected.is_none_or(|dims| *dims == stretch.dims))
            .then_some(Some(start))
    };
    outputs.zip(0..).map(start).collect()
}

/// Adds the storages that may be views, in the order of the steps.
///
/// What a view needs stays as it is while somebody reads it: in the life of either, no step writes to the other.
pub(super) fn find(storages: &[Storage], sizes: &[Option<usize>], steps: &[Operands], kept: &mut Kept) {
    if steps.iter().all(|step| step.starts.is_none()) {
        return;
    }
    let Kept { inside, viewed, .. } = kept;
    let mut finder = Finder { storages, sizes, writes: writes(storages, steps), families: HashMap::new() };
    for storage in (0..storages.len()).filter(|&s| inside[s].is_some()) {
        finder.join_family(inside, storage);
    }
    for (index, step) in steps.iter().enumerate() {
        if viewed[index] || !finder.may_view(inside, step) {
            continue;
        }
        for (view, source, start) in step.views() {
            inside[view] = Some((source, start));
            finder.join_family(inside, view);
        }
        viewed[index] = true;
    }
}

/// How a step of which all outputs are views has nothing to do.
pub(super) fn stays(storages: &[Storage], inside: &Inside, step: &Operands) -> Stays {
    let place = |output: &Option<StorageIndex>| output.map_or((0, 0), |view| outermost(inside, view));
    let places: Vec<_> = step.outputs.iter().map(place).collect();
    let is_made = |(storage, _): &(StorageIndex, usize)| matches!(storages[*storage], Storage::Made { .. });
    match step.outputs.iter().zip(&places).any(|(output, place)| output.is_some() && is_made(place)) {
        true => Stays::Viewed,
        false => Stays::Lent(places),
    }
}

struct Finder<'a> {
    storages: &'a [Storage],
    sizes: &'a [Option<usize>],
    writes: Vec<Vec<usize>>,
    /// By outermost storage: all that lie inside of it.
    families: HashMap<StorageIndex, Vec<StorageIndex>>,
}

impl Finder<'_> {
    fn join_family(&mut self, inside: &Inside, storage: StorageIndex) {
        self.families.entry(outermost(inside, storage).0).or_default().push(storage);
    }

    /// Whether all outputs of a step may be views of its input.
    fn may_view(&self, inside: &Inside, step: &Operands) -> bool {
        let views: Vec<_> = step.views().collect();
        let Some(&(_, source, _)) = views.first() else { return false };
        let size = |storage: StorageIndex| self.sizes[storage].unwrap_or(0);
        let all: usize = views.iter().map(|(view, ..)| size(*view)).sum();
        let is_longer = |view: StorageIndex| match (&self.storages[source], life(self.storages, view)) {
            (Storage::Made { life, .. }, Some(own)) => own.end() > life.end(),
            _ => false,
        };
        let idle = size(source) / SMALL > all && views.iter().any(|(view, ..)| is_longer(*view));
        !idle && views.iter().all(|&(view, source, start)| self.may_be(inside, view, source, start))
    }

    fn may_be(&self, inside: &Inside, view: StorageIndex, source: StorageIndex, start: usize) -> bool {
        let (Some(life), Some(size)) = (life(self.storages, view), self.sizes[view].filter(|&size| size > 0))
        else {
            return false;
        };
        let (whole, before) = outermost(inside, source);
        if inside[view].is_some() {
            return false;
        }
        if !matches!(self.storages[whole], Storage::Made { .. }) {
            return self.writes[view].is_empty();
        }
        let fits =
            self.sizes[source].is_some_and(|all| start.checked_add(size).is_some_and(|end| end <= all));
        let range = before + start..before + start + size;
        let family = self.families.get(&whole).into_iter().flatten().copied().chain([whole]);
        fits && self::life(self.storages, whole).is_some()
            && family.into_iter().all(|other| self.are_at_peace(inside, (view, life, &range), other))
    }

    /// Whether nobody writes to a view while another storage needs the same bytes, or the other way round.
    fn are_at_peace(
        &self,
        inside: &Inside,
        (view, own, range): (StorageIndex, &RangeInclusive<usize>, &Range<usize>),
        other: StorageIndex,
    ) -> bool {
        let Some(life) = life(self.storages, other) else { return false };
        let at = outermost(inside, other).1;
        let end = at + self.sizes[other].unwrap_or(0);
        let apart = end <= range.start || range.end <= at;
        let writes_in = |storage: StorageIndex, life: &RangeInclusive<usize>| {
            self.writes[storage].iter().any(|step| life.contains(step))
        };
        apart || !(writes_in(other, own) || writes_in(view, life))
    }
}
