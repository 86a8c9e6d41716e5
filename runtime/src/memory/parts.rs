//! Storages that lie inside others: the parts of a concatenation are made where it has them, and it moves nothing.

use std::ops::RangeInclusive;

use super::plan::{ALIGN, Operands};
use super::{Storage, StorageIndex};
use crate::device::HOST;

/// By storage: the one that it lies inside, and the bytes before it there.
pub(crate) type Inside = Vec<Option<(StorageIndex, usize)>>;

/// Finds the storages that may lie inside the output of a step that joins them; also says, by step, whether all of
/// its parts lie there.
///
/// A part is made by one step and last read by the joining one, so that no step ever has both a part and its whole.
/// A whole may be a part in turn.
pub(super) fn find(storages: &[Storage], sizes: &[Option<usize>], steps: &[Operands]) -> (Inside, Vec<bool>) {
    let mut inside: Inside = vec![None; storages.len()];
    let mut joined = vec![false; steps.len()];
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.joins) {
        let Some(parts) = parts_of(storages, sizes, index, step) else { continue };
        let whole = step.outputs[0].expect("looked at for its parts");
        for (part, offset) in parts {
            inside[part] = Some((whole, offset));
        }
        joined[index] = true;
    }
    (inside, joined)
}

/// The parts of a joining step and the bytes before each, if all of them may lie inside its output.
fn parts_of(
    storages: &[Storage],
    sizes: &[Option<usize>],
    index: usize,
    step: &Operands,
) -> Option<Vec<(StorageIndex, usize)>> {
    let whole = step.outputs.first().copied().flatten()?;
    life(storages, whole)?;
    let (mut parts, mut at) = (Vec::with_capacity(step.inputs.len()), 0usize);
    for input in &step.inputs {
        let part = (*input)?;
        let size = sizes[part].filter(|&size| size > 0)?;
        let fits = at.is_multiple_of(ALIGN) && *life(storages, part)?.end() == index;
        if !fits || parts.iter().any(|(other, _)| *other == part) {
            return None;
        }
        parts.push((part, at));
        at = at.checked_add(size)?;
    }
    (sizes[whole] == Some(at)).then_some(parts)
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
        let (inside, joined) = find(&storages, &sizes([64, 128, 192, 256, 448, 8]), &steps);
        assert_eq!(joined, [false, false, true, false, true, false]);
        let places: Vec<_> = (0..5).map(|s| outermost(&inside, s)).collect();
        assert_eq!(places, [(4, 0), (4, 64), (4, 0), (4, 192), (4, 0)]);
    }

    #[test]
    fn a_part_that_begins_between_lines_stays_outside() {
        let (storages, steps) = chain();
        let (inside, joined) = find(&storages, &sizes([60, 132, 192, 256, 448, 8]), &steps);
        assert_eq!(joined, [false, false, false, false, true, false]);
        assert_eq!(inside[0], None);
    }

    #[test]
    fn a_part_that_is_read_later_or_twice_stays_outside() {
        let (mut storages, mut steps) = chain();
        storages[1] = made(1, 1..=5);
        let (inside, joined) = find(&storages, &sizes([64, 128, 192, 256, 448, 8]), &steps);
        assert_eq!((inside[0], joined[2], joined[4]), (None, false, true));
        (storages, _) = chain();
        steps[2] = step(&[0, 0], 2, true);
        let (_, joined) = find(&storages, &sizes([64, 128, 128, 256, 384, 8]), &steps);
        assert!(!joined[2] && joined[4]);
    }
}
