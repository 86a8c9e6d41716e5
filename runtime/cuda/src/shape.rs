//! Arithmetic on shapes: broadcasting, strides, and folding neighbouring dimensions into one.

use byoc_plugin::{Error, Result};

pub type Shape = Vec<usize>;

/// Most dimensions of a tensor, as generated kernels have room for.
pub const MAX_RANK: usize = 8;
/// Kernels count elements in 32 bits, with room for a last step beyond the end.
pub const MAX_ELEMENTS: usize = 1 << 31;

pub fn elements(shape: &[usize]) -> Result<usize> {
    let count = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let fits = |count: &usize| *count < MAX_ELEMENTS && shape.len() <= MAX_RANK;
    count.filter(fits).ok_or_else(|| {
        Error::unsupported(format!(
            "{shape:?} has more than {MAX_ELEMENTS} elements or {MAX_RANK} dimensions"
        ))
    })
}

/// The strides of a dense tensor, in elements. Where one is beyond all bounds, there are none.
pub fn dense(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The shape that several broadcast to.
pub fn broadcast<'a>(shapes: impl IntoIterator<Item = &'a [usize]>) -> Result<Shape> {
    let mut all: Shape = Vec::new();
    for shape in shapes {
        while all.len() < shape.len() {
            all.insert(0, 1);
        }
        let start = all.len() - shape.len();
        for (size, &own) in all[start..].iter_mut().zip(shape) {
            *size = match (*size, own) {
                (1, own) => own,
                (size, 1) => size,
                (size, own) if size == own => size,
                (size, own) => return Err(Error::invalid(format!("{size} and {own} do not broadcast"))),
            };
        }
    }
    Ok(all)
}

/// The strides of a dense tensor that is read in a larger shape: 0 where it is repeated.
pub fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let (own, missing) = (dense(shape), to.len().saturating_sub(shape.len()));
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(axis) if shape[axis] != 1 => own[axis],
        _ => 0,
    };
    (0..to.len()).map(stride).collect()
}

/// A place counted from the front or from the end, counted from the front.
pub fn axis(axis: i64, rank: usize) -> Result<usize> {
    let wrapped = if axis < 0 { axis + rank as i64 } else { axis };
    let wrapped = usize::try_from(wrapped).ok().filter(|axis| *axis < rank);
    wrapped.ok_or_else(|| Error::invalid(format!("there is no axis {axis} among {rank}")))
}

/// Several tensors walked together: sizes, and strides for each tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk<S> {
    pub dims: Vec<usize>,
    pub strides: Vec<Vec<S>>,
}

impl<S: Copy + PartialEq + std::ops::Mul<Output = S> + TryFrom<usize> + Default> Walk<S> {
    /// Drops dimensions of one element, and folds those together that no tensor tells apart.
    pub fn folded(self) -> Walk<S> {
        let mut folded = Walk { dims: Vec::new(), strides: vec![Vec::new(); self.strides.len()] };
        for (axis, &size) in self.dims.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let joins = |own: &Vec<S>, all: &Vec<S>| {
                let step = S::try_from(size).unwrap_or_default();
                own.last().is_some_and(|outer| *outer == all[axis] * step)
            };
            let joined = folded.strides.iter().zip(&self.strides).all(|(own, all)| joins(own, all));
            if let Some(last) = folded.dims.last_mut().filter(|_| joined) {
                *last *= size;
            } else {
                folded.dims.push(size);
                folded.strides.iter_mut().for_each(|own| own.push(S::default()));
            }
            for (own, all) in folded.strides.iter_mut().zip(&self.strides) {
                if let Some(last) = own.last_mut() {
                    *last = all[axis];
                }
            }
        }
        folded
    }
}

/// A list in the room that kernels have for it.
pub fn padded(values: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut room: Vec<u32> = values.into_iter().collect();
    room.resize(MAX_RANK, 0);
    room
}

pub fn words(values: &[usize]) -> Vec<u32> {
    padded(values.iter().map(|value| *value as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_the_standard_says() {
        assert_eq!(broadcast([&[2, 1, 4][..], &[3, 1], &[]]).unwrap(), [2, 3, 4]);
        assert_eq!(broadcast([&[0][..], &[1]]).unwrap(), [0]);
        assert!(broadcast([&[2][..], &[3]]).is_err());
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
        assert_eq!((axis(-1, 3).unwrap(), axis(0, 3).unwrap()), (2, 0));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err());
    }

    #[test]
    fn what_no_tensor_tells_apart_is_folded() {
        let dense = dense(&[2, 3, 4]);
        let walk = Walk { dims: vec![2, 3, 4], strides: vec![dense.clone(), vec![0, 0, 0]] };
        assert_eq!(walk.folded(), Walk { dims: vec![24], strides: vec![vec![1], vec![0]] });
        let bias = Walk { dims: vec![2, 3, 1, 4], strides: vec![vec![12, 4, 4, 1], vec![0, 1, 0, 0]] };
        let expected = Walk { dims: vec![2, 3, 4], strides: vec![vec![12, 4, 1], vec![0, 1, 0]] };
        assert_eq!(bias.folded(), expected);
    }

    #[test]
    fn sizes_beyond_32_bits_are_refused() {
        assert!(elements(&[1 << 16, 1 << 15]).is_err());
        assert!(elements(&[usize::MAX, 2]).is_err());
        assert_eq!(elements(&[]).unwrap(), 1);
    }
}
