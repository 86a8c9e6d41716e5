//! Sizes as the standard computes them, for vendors whose regions meet shapes only when they run.
//!
//! The host infers the shapes of a region's outputs by itself; these functions are for what lies inside. Sizes are
//! `i64`, as ONNX has them.

mod numbers;
mod resize;
mod view;
mod window;

pub use numbers::{Number, Numbers};
pub use resize::Scaling;
pub use view::View;
pub use window::{Pads, Placed, Window};

/// An axis counted from the front.
pub fn from_front(axis: i64, rank: usize) -> i64 {
    if axis < 0 { axis.saturating_add(rank as i64) } else { axis }
}

/// The shape that two broadcast to.
pub fn broadcast(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[i64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let dim = |i: usize| match (at(a, i), at(b, i)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(dim).collect()
}

/// The shape of a matrix product of stacks of matrices, either of them transposed.
pub fn matmul(a: &[i64], b: &[i64], transposed: [bool; 2]) -> Option<Vec<i64>> {
    let ends = |dims: &[i64], turned: bool| {
        let (outer, inner) = dims.split_at_checked(dims.len().checked_sub(2)?)?;
        let (rows, columns) = if turned { (inner[1], inner[0]) } else { (inner[0], inner[1]) };
        Some((outer.to_vec(), rows, columns))
    };
    let ((outer_a, rows, inner), (outer_b, other, columns)) =
        (ends(a, transposed[0])?, ends(b, transposed[1])?);
    (inner == other).then_some(())?;
    Some([broadcast(&outer_a, &outer_b)?, vec![rows, columns]].concat())
}

/// Where part `which` of a Split begins, and how long it is: of these sizes, or without any of `count` equal ones, the
/// last of which may be smaller.
pub fn part(whole: i64, sizes: &[i64], which: usize, count: i64) -> Option<(i64, i64)> {
    let equal = (count > 0).then(|| (whole + count - 1) / count)?;
    let end = |i: usize| match sizes.is_empty() {
        true => Some((i as i64 * equal).min(whole)),
        false => Some(sizes.get(..i)?.iter().sum()),
    };
    let (begin, end) = (end(which)?, end(which + 1)?);
    (0 <= begin && begin < end && end <= whole).then_some((begin, end - begin))
}

/// A shape without its reduced axes, all where none are named; those stay as ones where `keep` says so.
pub fn reduced(dims: &[i64], axes: &[i64], keep: bool) -> Vec<i64> {
    let gone = |i: usize| axes.is_empty() || axes.iter().any(|&a| from_front(a, dims.len()) == i as i64);
    let kept = dims.iter().enumerate().filter(|(i, _)| keep || !gone(*i));
    kept.map(|(i, &dim)| if gone(i) { 1 } else { dim }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_broadcast_from_behind() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast(&[], &[3]), Some(vec![3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(matmul(&[5, 2, 3], &[4, 3], [false, true]), Some(vec![5, 2, 4]));
        assert_eq!(matmul(&[5, 2, 3], &[4, 3], [false, false]), None);
    }

    #[test]
    fn parts_follow_each_other_and_end_with_the_whole() {
        assert_eq!([0, 1, 2].map(|i| part(7, &[], i, 3)), [Some((0, 3)), Some((3, 3)), Some((6, 1))]);
        assert_eq!([0, 1].map(|i| part(7, &[2, 5], i, 2)), [Some((0, 2)), Some((2, 5))]);
        assert_eq!((part(7, &[2, 6], 1, 2), part(2, &[], 2, 3), part(7, &[7], 1, 1)), (None, None, None));
    }

    #[test]
    fn reduced_axes_go_or_become_ones() {
        assert_eq!(reduced(&[2, 3, 4], &[-1, 0], true), [1, 3, 1]);
        assert_eq!(reduced(&[2, 3, 4], &[1], false), [2, 4]);
        assert_eq!(reduced(&[2, 3], &[], false), [0i64; 0]);
    }
}
