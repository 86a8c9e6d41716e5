//! Tensors as the host hands them to an executable.

use byoc_plugin::{DType, DeviceId, HOST, abi};

use abi::AbiStruct;

/// An input, dense and row-major.
#[derive(Debug, Clone, Copy)]
pub struct TensorRef<'a> {
    pub dtype: DType,
    pub shape: &'a [i64],
    pub data: TensorData<'a>,
}

#[derive(Debug, Clone, Copy)]
pub enum TensorData<'a> {
    Host(&'a [u8]),
    Device { device: DeviceId, address: u64, offset: u64, len: u64 },
}

/// Tensors in the interface's form, with what they point at.
#[derive(Default)]
pub(crate) struct TensorArrays {
    tensors: Vec<abi::Tensor>,
    shapes: Vec<Vec<i64>>,
    strides: Vec<Vec<i64>>,
}

/// Where a tensor lies.
pub(crate) struct Place {
    pub device: DeviceId,
    pub data: u64,
    pub offset: u64,
    pub len: u64,
    pub pending: bool,
}

impl TensorArrays {
    pub(crate) fn push(&mut self, dtype: DType, shape: &[i64], value: usize, place: Place) {
        let shape = shape.to_vec();
        let strides = dense_strides(&shape);
        let mut tensor = abi::Tensor {
            data: place.data as usize as *mut _,
            byte_offset: place.offset,
            byte_len: place.len,
            device: place.device,
            dtype: dtype.to_abi(),
            rank: shape.len() as u64,
            // The heap memory of a vector stays where it is when the vector moves.
            shape: shape.as_ptr(),
            strides: strides.as_ptr(),
            value: value as u64,
            ..AbiStruct::empty()
        };
        tensor.head.flags = if place.pending { abi::TENSOR_PENDING } else { 0 };
        self.tensors.push(tensor);
        self.shapes.push(shape);
        self.strides.push(strides);
    }

    pub(crate) fn inputs(tensors: &[TensorRef<'_>], values: &[usize]) -> Self {
        let mut arrays = TensorArrays::default();
        for (tensor, value) in tensors.iter().zip(values) {
            let place = match tensor.data {
                TensorData::Host(bytes) => Place::host(bytes.as_ptr(), bytes.len()),
                TensorData::Device { device, address, offset, len } => {
                    Place { device, data: address, offset, len, pending: false }
                }
            };
            arrays.push(tensor.dtype, tensor.shape, *value, place);
        }
        arrays
    }

    /// Pointers to the tensors, valid until the next push.
    pub(crate) fn pointers(&mut self) -> Vec<*mut abi::Tensor> {
        let start = self.tensors.as_mut_ptr();
        (0..self.tensors.len()).map(|index| start.wrapping_add(index)).collect()
    }
}

impl Place {
    pub(crate) fn host(data: *const u8, len: usize) -> Self {
        Place {
            device: HOST,
            data: data.expose_provenance() as u64,
            offset: 0,
            len: len as u64,
            pending: false,
        }
    }
}

/// Strides in elements; those of shapes that cannot be are clamped.
fn dense_strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_are_row_major() {
        assert_eq!(dense_strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(dense_strides(&[]), [0i64; 0]);
        assert_eq!(dense_strides(&[i64::MAX, i64::MAX, i64::MAX]), [i64::MAX, i64::MAX, 1]);
    }
}
