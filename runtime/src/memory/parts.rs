//! Storages that lie inside others: the parts of a concatenation are made where it has them, and it moves nothing.

use std::ops::RangeInclusive;

use super::plan::{ALIGN, Operands};
use super::{Storage, StorageIndex};
use crate::device::HOST;

/// By storage: the one that it lies inside, and the bytes before it there.
pub(crate) type Inside = Vec<Option<(StorageIndex, usize)>>;

/// What steps need not move, and which steps those are.
#[derive(Default)]
pub(super) struct Kept {
    pub inside: Inside,
    /// By step: its inputs lie in its output, one behind the other.
    pub joined: Vec<bool>,
    /// By step: its outputs lie in its input.
    pub viewed: Vec<bool>,
}

/// Finds the storages that may lie inside the output of a step that joins them.
///
/// A part is made by one step and last read by the joining one, so that no step ever has both a part and its whole.
/// A whole may be a part in turn. What has been cut up to be joined again is a part in the place of its pieces.
pub(super) fn find(storages: &[Storage], sizes: &[Option<usize>], steps: &[Operands]) -> Kept {
    let mut kept = Kept {
        inside: vec![None; storages.len()],
        joined: vec![false; steps.len()],
        viewed: vec![false; steps.len()],
    };
    let mut cut = vec![None; storages.len()];
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.starts.is_some()) {
        step.outputs.iter().flatten().for_each(|&piece| cut[piece] = Some(index));
    }
    let joins = Joins { storages, sizes, steps, cut, writes: writes(storages, steps) };
    for index in (0..steps.len()).filter(|&index| steps[index].joins) {
        let Some(Parts { parts, cuts }) = joins.parts_of(&kept.inside, index) else { continue };
        let whole = steps[index].outputs[0].expect("looked at for its parts");
        parts.into_iter().for_each(|(part, offset)| kept.inside[part] = Some((whole, offset)));
        kept.joined[index] = true;
        for cut in cuts {
            kept.viewed[cut] = true;
            steps[cut].views().for_each(|(view, source, start)| kept.inside[view] = Some((source, start)));
        }
    }
    kept
}

/// By storage: the steps that write to it when it has been made.
pub(super) fn writes(storages: &[Storage], steps: &[Operands]) -> Vec<Vec<usize>> {
    let mut writes = vec![Vec::new(); storages.len()];
    for (index, step) in steps.iter().enumerate() {
        for &storage in step.outputs.iter().flatten() {
            if matches!(&storages[storage], Storage::Made { life, .. } if *life.start() < index) {
                writes[storage].push(index);
            }
        }
    }
    writes
}

struct Joins<'a> {
    storages: &'a [Storage],
    sizes: &'a [Option<usize>],
    steps: &'a [Operands],
    /// By storage: the step that cuts it out of another.
    cut: Vec<Option<usize>>,
    writes: Vec<Vec<usize>>,
}

/// Parts of a whole and the bytes before each, and the steps whose outputs lie in one of them.
struct Parts {
    parts: Vec<(StorageIndex, usize)>,
    cuts: Vec<usize>,
}

impl Joins<'_> {
    /// The parts of a joining step, if all of them may lie inside its output.
    fn parts_of(&self, inside: &Inside, index: usize) -> Option<Parts> {
        let step = &self.steps[index];
        let whole = step.outputs.first().copied().flatten()?;
        life(self.storages, whole)?;
        let mut parts: Vec<(StorageIndex, usize)> = Vec::with_capacity(step.inputs.len());
        let (mut cuts, mut at, mut rest) = (Vec::new(), 0usize, &step.inputs[..]);
        while let Some((first, behind)) = rest.split_first() {
            let mut part = (*first)?;
            rest = behind;
            if let Some((cut, source, pieces)) = self.pieces(inside, index, (part, behind)) {
                part = source;
                rest = &behind[pieces - 1..];
                cuts.push(cut);
            } else if *life(self.storages, part)?.end() != index {
                return None;
            }
            let size = self.sizes[part].filter(|&size| size > 0)?;
            if !at.is_multiple_of(ALIGN) || parts.iter().any(|(other, _)| *other == part) {
                return None;
            }
            parts.push((part, at));
            at = at.checked_add(size)?;
        }
        (self.sizes[whole] == Some(at)).then_some(Parts { parts, cuts })
    }

    /// The step that cut the next inputs of a joining step out of a storage that they are all of, in order; the storage,
    /// and how many they are.
    fn pieces(
        &self,
        inside: &Inside,
        index: usize,
        (first, behind): (StorageIndex, &[Option<StorageIndex>]),
    ) -> Option<(usize, StorageIndex, usize)> {
        let cut = self.cut[first]?;
        let views: Vec<_> = self.steps[cut].views().collect();
        let source = views.first()?.1;
        let next = std::iter::once(Some(first)).chain(behind.iter().copied());
        let in_order = behind.len() + 1 >= views.len()
            && views.iter().zip(next).all(|((view, ..), input)| Some(*view) == input);
        let mut at = 0;
        let covers = views.iter().all(|(view, _, start)| {
            let follows = *start == at;
            at += self.sizes[*view].unwrap_or(0);
            follows
        });
        let own = life(self.storages, source)?;
        let at_peace = |view: StorageIndex| {
            life(self.storages, view).is_some_and(|life| {
                *life.end() == index
                    && !self.writes[source].iter().any(|step| life.contains(step))
                    && !self.writes[view].iter().any(|step| own.contains(step))
            })
        };
        let fits = self.sizes[source] == Some(at)
            && *own.end() < index
            && inside[source].is_none()
            && views.iter().all(|(view, ..)| at_peace(*view));
        (in_order && covers && fits).then_some((cut, source, views.len()))
    }
}

/// By storage: its life and those of all that lie inside of it; `None` for what is not made by steps.
pub(super) fn lives(storages: &[Storage], inside: &Inside) -> Vec<Option<RangeInclusive<usize>>> {
    let own = |storage: &Storage| match storage {
        Storage::Made { life, .. } => Some(life.clone()),
        _ => None,
    };
    let mut lives: Vec<_> = storages.iter().map(own).collect();
    for storage in (0..storages.len()).filter(|&s| inside[s].is_some()) {
        let (whole, _) = outermost(inside, storage);
        if let (Some(part), Some(life)) = (own(&storages[storage]), &mut lives[whole]) {
            *life = *life.start().min(part.start())..=*life.end().max(part.end());
        }
    }
    lives
}

/// The life of a storage that has a place in the arena of the host.
pub(super) fn life(storages: &[Storage], storage: StorageIndex) -> Option<&RangeInclusive<usize>> {
    match &storages[storage] {
        Storage::Made { life, output: None, space: HOST, .. } => Some(life),
        _ => None,
    }
}

/// The outermost storage around one, and the bytes before it there.
pub(super) fn outermost(inside: &Inside, mut storage: StorageIndex) -> (StorageIndex, usize) {
    let mut before = 0;
    while let Some((whole, offset)) = inside[storage] {
        (storage, before) = (whole, before + offset);
    }
    (storage, before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(value: usize, life: RangeInclusive<usize>) -> Storage {
        Storage::Made { value, life, output: None, space: HOST }
    }

    fn step(inputs: &[usize], output: usize, joins: bool) -> Operands {
        let inputs = inputs.iter().map(|&s| Some(s)).collect();
        Operands { queue: None, inputs, outputs: [Some(output)].into_iter().collect(), joins, starts: None }
    }

    /// 0 and 1 are joined to 2; 2 and 3 to 4.
    fn chain() -> (Vec<Storage>, Vec<Operands>) {
        let storages = vec![
            made(0, 0..=2),
            made(1, 1..=2),
            made(2, 2..=4),
            made(3, 3..=4),
            made(4, 4..=5),
            made(5, 5..=5),
        ];
        let steps = vec![
            step(&[], 0, false),
            step(&[0], 1, false),
            step(&[0, 1], 2, true),
            step(&[2], 3, false),
            step(&[2, 3], 4, true),
            step(&[4], 5, false),
        ];
        (storages, steps)
    }

    fn sizes(bytes: [usize; 6]) -> Vec<Option<usize>> {
        bytes.iter().map(|&b| Some(b)).collect()
    }

    #[test]
    fn wholes_nest() {
        let (storages, steps) = chain();
        let Kept { inside, joined, .. } = find(&storages, &sizes([64, 128, 192, 256, 448, 8]), &steps);
        assert_eq!(joined, [false, false, true, false, true, false]);
        let places: Vec<_> = (0..5).map(|s| outermost(&inside, s)).collect();
        assert_eq!(places, [(4, 0), (4, 64), (4, 0), (4, 192), (4, 0)]);
    }

    #[test]
    fn a_part_that_begins_between_lines_stays_outside() {
        let (storages, steps) = chain();
        let Kept { inside, joined, .. } = find(&storages, &sizes([60, 132, 192, 256, 448, 8]), &steps);
        assert_eq!(joined, [false, false, false, false, true, false]);
        assert_eq!(inside[0], None);
    }

    #[test]
    fn a_part_that_is_read_later_or_twice_stays_outside() {
        let (mut storages, mut steps) = chain();
        storages[1] = made(1, 1..=5);
        let Kept { inside, joined, .. } = find(&storages, &sizes([64, 128, 192, 256, 448, 8]), &steps);
        assert_eq!((inside[0], joined[2], joined[4]), (None, false, true));
        (storages, _) = chain();
        steps[2] = step(&[0, 0], 2, true);
        let Kept { joined, .. } = find(&storages, &sizes([64, 128, 128, 256, 384, 8]), &steps);
        assert!(!joined[2] && joined[4]);
    }
}
