//! How queries, keys, values and outputs lie in tensors.

use byoc_plugin::{Error, Result};

use crate::shape::{Shape, dense};

/// How heads lie in a tensor: for batch, head, row and item the axis along which they are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lies {
    /// The tensor's last axis holds so many heads, one behind the other: it counts as two axes.
    pub split: Option<usize>,
    pub axes: [usize; 4],
    /// An axis on which one place is meant, and which.
    pub fixed: Option<(usize, usize)>,
    /// The first of the heads that are meant, and how many; all where it is not said.
    pub some: Option<(usize, usize)>,
}

impl Lies {
    /// `[batch, head, row, item]`.
    pub const HEADS: Lies = Lies { split: None, axes: [0, 1, 2, 3], fixed: None, some: None };

    /// `[batch, row, head · item]`.
    pub fn flat(heads: usize) -> Lies {
        Lies { split: Some(heads), axes: [0, 2, 1, 3], ..Lies::HEADS }
    }

    /// `[batch, row, head, part, item]`: one of the parts.
    pub fn packed(part: usize) -> Lies {
        Lies { axes: [0, 2, 1, 4], fixed: Some((3, part)), ..Lies::HEADS }
    }

    /// The tensor with its last axis as two, where that is so.
    fn seen(&self, shape: &[usize]) -> Result<Shape> {
        let wrong = || Error::invalid(format!("{shape:?} has no heads"));
        let mut seen = shape.to_vec();
        if let Some(heads) = self.split {
            let last = seen.pop().filter(|last| heads > 0 && last % heads == 0).ok_or_else(wrong)?;
            seen.extend([heads, last / heads]);
        }
        let rank = seen.len();
        let known = self.axes.iter().chain(self.fixed.iter().map(|(axis, _)| axis)).all(|axis| *axis < rank);
        if !known || rank != 4 + usize::from(self.fixed.is_some()) {
            return Err(wrong());
        }
        let all = seen[self.axes[1]];
        let enough = |(first, count): (usize, usize)| first.checked_add(count).is_some_and(|end| end <= all);
        if self.some.is_some_and(|some| !enough(some)) {
            return Err(wrong());
        }
        Ok(seen)
    }

    /// Batches, heads, rows and items.
    pub fn sizes(&self, shape: &[usize]) -> Result<[usize; 4]> {
        let seen = self.seen(shape)?;
        let mut sizes = self.axes.map(|axis| seen[axis]);
        sizes[1] = self.some.map_or(sizes[1], |(_, count)| count);
        Ok(sizes)
    }

    /// The struct `Heads`: where the first element is, and strides.
    pub fn fields(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let seen = self.seen(shape)?;
        let strides = dense(&seen);
        let part = self.fixed.map_or(Ok(0), |(axis, place)| match place < seen[axis] {
            true => Ok(place * strides[axis]),
            false => Err(Error::invalid(format!("{shape:?} has no part {place}"))),
        })?;
        let first = part + self.some.map_or(0, |(first, _)| first * strides[self.axes[1]]);
        Ok([first].into_iter().chain(self.axes.map(|axis| strides[axis])).collect())
    }

    /// The shape of a tensor in which heads of these sizes lie so.
    pub fn shape(&self, sizes: [usize; 4]) -> Shape {
        let mut seen = vec![1; 4];
        self.axes.iter().zip(sizes).for_each(|(axis, size)| seen[*axis] = size);
        if self.split.is_some() {
            let item = seen.pop().unwrap_or(1);
            seen[2] *= item;
        }
        seen
    }
}

/// Fields of a struct, as a launch has them.
pub fn words(fields: &[usize]) -> Vec<u32> {
    fields.iter().map(|field| *field as u32).collect()
}
