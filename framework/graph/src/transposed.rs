//! Transposed constants: what the axes of a tensor are exchanged to, computed when somebody asks for the bytes.
//!
//! Kernels that read a matrix either way need no bytes but those of the origin.

use std::sync::OnceLock;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::tensor::{StaticDims, Tensor};

/// Elements of one side of the squares in which elements are moved, so that reads and writes stay in the cache.
const SIDE: usize = 32;

/// Axis `i` of the result is axis `perm[i]` of the origin.
pub(crate) struct Transposed {
    pub origin: Tensor,
    pub perm: SmallVec<[usize; 4]>,
    bytes: OnceLock<Bytes>,
}

impl Transposed {
    /// `perm` has each axis of the origin once; its elements have whole bytes.
    pub fn new(origin: Tensor, perm: &[usize]) -> Transposed {
        Transposed { origin, perm: perm.into(), bytes: OnceLock::new() }
    }

    pub fn bytes(&self) -> &Bytes {
        self.bytes.get_or_init(|| {
            let (from, dims, perm) = (self.origin.bytes(), self.origin.dims(), &self.perm[..]);
            match self.origin.dtype().bits() {
                8 => permute::<1>(from, dims, perm),
                16 => permute::<2>(from, dims, perm),
                32 => permute::<4>(from, dims, perm),
                64 => permute::<8>(from, dims, perm),
                _ => permute::<16>(from, dims, perm),
            }
            .into()
        })
    }
}

/// Moves elements of `N` bytes.
fn permute<const N: usize>(from: &[u8], dims: &[usize], perm: &[usize]) -> Vec<u8> {
    let mut to = vec![0; from.len()];
    let (Some(last), false) = (dims.len().checked_sub(1), from.is_empty()) else {
        to.copy_from_slice(from);
        return to;
    };
    let strides = strides(dims);
    let out_dims: StaticDims = perm.iter().map(|&axis| dims[axis]).collect();
    let out_strides = self::strides(&out_dims);
    // The result's innermost axis, and the axis of the result that is innermost in the origin.
    let inner = last;
    let other = perm.iter().position(|&axis| axis == last).expect("a permutation");
    let (rows, cols) = if other == inner { (1, out_dims[inner]) } else { (out_dims[other], out_dims[inner]) };
    let (row_to, col_from) = (out_strides[other], strides[perm[inner]]);
    let mut at: StaticDims = smallvec::smallvec![0; dims.len()];
    loop {
        let source: usize = at.iter().zip(perm).map(|(i, &axis)| i * strides[axis]).sum();
        let target: usize = at.iter().zip(&out_strides).map(|(i, stride)| i * stride).sum();
        for row in (0..rows).step_by(SIDE) {
            for col in (0..cols).step_by(SIDE) {
                for r in row..rows.min(row + SIDE) {
                    for c in col..cols.min(col + SIDE) {
                        let (source, target) = (source + r + c * col_from, target + r * row_to + c);
                        to[target * N..][..N].copy_from_slice(&from[source * N..][..N]);
                    }
                }
            }
        }
        // The next position along the axes that are left.
        let next = (0..dims.len()).rev().filter(|&i| i != inner && i != other).find(|&i| {
            at[i] = (at[i] + 1) % out_dims[i];
            at[i] != 0
        });
        if next.is_none() {
            return to;
        }
    }
}

fn strides(dims: &[usize]) -> StaticDims {
    let mut strides: StaticDims = smallvec::smallvec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_element_goes_where_its_axes_go(
            dims in proptest::collection::vec(0usize..40, 0..4),
            shuffle in proptest::collection::vec(any::<u32>(), 4),
        ) {
            let mut perm: Vec<usize> = (0..dims.len()).collect();
            perm.sort_by_key(|&axis| shuffle[axis]);
            let len: usize = dims.iter().product();
            let origin = Tensor::from_vec(&dims, (0..len as i32).collect()).unwrap();
            let result = origin.transposed(&perm).unwrap();
            let got = result.as_slice::<i32>().unwrap();
            let (from, to) = (strides(&dims), strides(result.dims()));
            for (i, x) in got.iter().enumerate() {
                let index = |axis: usize| i / to[axis] % result.dims()[axis];
                let source: usize = (0..dims.len()).map(|axis| index(axis) * from[perm[axis]]).sum();
                prop_assert_eq!(*x, source as i32);
            }
        }
    }

    #[test]
    fn what_is_no_permutation_or_has_no_whole_bytes_is_refused() {
        let matrix = Tensor::from_vec(&[2, 3], vec![0f32; 6]).unwrap();
        assert!(matrix.transposed(&[0]).is_none() && matrix.transposed(&[0, 0]).is_none());
        assert!(matrix.transposed(&[0, 2]).is_none());
        let packed = Tensor::from_bytes(crate::DType::I4, &[2, 2], Bytes::from_static(&[0; 2])).unwrap();
        assert!(packed.transposed(&[1, 0]).is_none());
        let (origin, perm) = matrix
            .transposed(&[1, 0])
            .unwrap()
            .transposed_origin()
            .map(|(o, p)| (o.clone(), p.to_vec()))
            .unwrap();
        assert_eq!((origin, &perm[..]), (matrix, &[1, 0][..]));
    }
}
