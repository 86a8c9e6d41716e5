//! A count of something, unknown as soon as any factor of it is.

use crate::TensorType;

#[derive(Clone, Copy)]
pub struct Count(Option<u64>);

impl Count {
    pub fn of(value: Option<usize>) -> Count {
        Count(value.and_then(|n| u64::try_from(n).ok()))
    }

    pub fn number(value: u64) -> Count {
        Count(Some(value))
    }

    pub fn elements(tensor: Option<&TensorType>) -> Count {
        Count::of(tensor.and_then(TensorType::elements))
    }

    /// One dimension; negative axes count from the back.
    pub fn dim(tensor: Option<&TensorType>, axis: isize) -> Count {
        let dim = tensor.and_then(TensorType::static_dims).and_then(|dims| {
            let at = if axis < 0 { dims.len().checked_add_signed(axis)? } else { axis.unsigned_abs() };
            dims.get(at).copied()
        });
        Count::of(dim)
    }

    /// The product of the dimensions from `axis` on.
    pub fn dims_from(tensor: Option<&TensorType>, axis: usize) -> Count {
        let dims = tensor.and_then(TensorType::static_dims);
        Count::of(dims.and_then(|dims| dims.get(axis..)?.iter().try_fold(1usize, |n, &d| n.checked_mul(d))))
    }

    pub fn value(self) -> Option<u64> {
        self.0
    }

    pub fn times(self, other: Count) -> Count {
        Count(self.0.zip(other.0).and_then(|(a, b)| a.checked_mul(b)))
    }

    pub fn plus(self, other: Count) -> Count {
        Count(self.0.zip(other.0).and_then(|(a, b)| a.checked_add(b)))
    }
}
