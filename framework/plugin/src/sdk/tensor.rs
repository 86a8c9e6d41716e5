//! Tensors of one execution.

use std::ffi::c_void;

use crate::abi;

use super::dtype::{DType, Element, cast, cast_mut};
use super::error::{Error, Result};
use super::host::CallRef;

/// What inputs and outputs have in common.
#[derive(Debug, Clone, Copy)]
pub struct TensorInfo<'a> {
    pub dtype: Option<DType>,
    pub shape: &'a [i64],
    /// In elements.
    pub strides: &'a [i64],
    pub device: abi::DeviceId,
    /// Index of the region's value.
    pub value: usize,
}

impl TensorInfo<'_> {
    /// The number of elements; `None` on overflow and for a shape that is not known.
    pub fn elements(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, size| product.checked_mul(usize::try_from(*size).ok()?))
    }

    pub fn is_host(&self) -> bool {
        self.device.kind == abi::DEVICE_HOST
    }
}

/// An input.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    pub info: TensorInfo<'a>,
    data: *mut c_void,
    byte_offset: u64,
    byte_len: u64,
    marker: std::marker::PhantomData<&'a [u8]>,
}

/// An output. Every element must be written.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    pub info: TensorInfo<'a>,
    data: *mut c_void,
    byte_offset: u64,
    byte_len: u64,
    pending: bool,
    /// Its place among the outputs.
    index: usize,
    call: CallRef<'a>,
    /// The shape that the plugin has chosen for a pending output.
    marker: std::marker::PhantomData<&'a mut [u8]>,
}

// SAFETY: a view is a shared slice of bytes; a device pointer is only a number here.
unsafe impl Send for TensorView<'_> {}
// SAFETY: as above.
unsafe impl Sync for TensorView<'_> {}
// SAFETY: a view is an exclusive slice of bytes.
unsafe impl Send for TensorViewMut<'_> {}
// SAFETY: shared, it gives no access to the bytes.
unsafe impl Sync for TensorViewMut<'_> {}

impl<'a> TensorView<'a> {
    /// The content; an error for a tensor in a device's memory.
    pub fn bytes(&self) -> Result<&'a [u8]> {
        let data = host_data(&self.info, self.data, self.byte_offset)?;
        // SAFETY: the host lends so many bytes of host memory for the call.
        Ok(unsafe { abi::slice(data, self.byte_len) })
    }

    /// The elements of a dense tensor in host memory.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        let dtype = self.info.dtype.ok_or_else(|| wrong_type::<T>(&self.info))?;
        cast(dtype, self.bytes()?).ok_or_else(|| wrong_type::<T>(&self.info))
    }

    /// Address and byte offset in the device's memory.
    pub fn device_data(&self) -> (*const c_void, u64) {
        (self.data, self.byte_offset)
    }

    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }
}

impl<'a> TensorViewMut<'a> {
    /// The output has no memory yet, since its shape was not known: see [`TensorViewMut::allocate`].
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Gives a pending output its shape and memory.
    pub fn allocate(&mut self, shape: &[usize]) -> Result<()> {
        if !self.pending {
            return Err(Error::invalid(format!("output {} has its memory already", self.index)));
        }
        let allocated = self.call.output_alloc(self.index, shape)?;
        (self.data, self.byte_len, self.byte_offset) = (allocated.data, allocated.byte_len, 0);
        self.pending = false;
        Ok(())
    }

    /// The content to write; an error for a tensor in a device's memory or a pending one.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8]> {
        if self.pending {
            return Err(Error::invalid(format!("output {} must be allocated first", self.index)));
        }
        let data = host_data(&self.info, self.data, self.byte_offset)?;
        // SAFETY: the host lends so many bytes of host memory for the call, to this view alone.
        Ok(unsafe { abi::slice_mut(data, self.byte_len) })
    }

    /// The elements of a dense tensor in host memory, to write.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        let info = self.info;
        let dtype = info.dtype.ok_or_else(|| wrong_type::<T>(&info))?;
        cast_mut(dtype, self.bytes_mut()?).ok_or_else(|| wrong_type::<T>(&info))
    }

    /// Address and byte offset in the device's memory.
    pub fn device_data(&self) -> (*mut c_void, u64) {
        (self.data, self.byte_offset)
    }

    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }
}

fn host_data(info: &TensorInfo<'_>, data: *mut c_void, offset: u64) -> Result<*mut u8> {
    if !info.is_host() {
        return Err(Error::invalid(format!("value {} lies in a device's memory", info.value)));
    }
    Ok(data.cast::<u8>().wrapping_add(offset as usize))
}

fn wrong_type<T: Element>(info: &TensorInfo<'_>) -> Error {
    let got = info.dtype.map_or("an unknown type", DType::name);
    Error::invalid(format!("value {} is {got}, read as {}", info.value, T::DTYPE))
}

/// The views of an execution's tensors.
///
/// # Safety
/// The tensors and all that they point at are valid for `'a`, outputs for this call alone.
pub(crate) unsafe fn inputs<'a>(tensors: *const *const abi::Tensor, len: u64) -> Result<Vec<TensorView<'a>>> {
    // SAFETY: the caller's promise.
    let tensors = unsafe { abi::slice(tensors, len) };
    tensors
        .iter()
        .map(|tensor| {
            // SAFETY: the caller's promise.
            let (tensor, info) = unsafe { read(*tensor)? };
            let abi::Tensor { data, byte_offset, byte_len, .. } = tensor;
            Ok(TensorView { info, data, byte_offset, byte_len, marker: std::marker::PhantomData })
        })
        .collect()
}

/// As [`inputs`], for outputs.
///
/// # Safety
/// As [`inputs`].
pub(crate) unsafe fn outputs<'a>(
    tensors: *const *mut abi::Tensor,
    len: u64,
    call: CallRef<'a>,
) -> Result<Vec<TensorViewMut<'a>>> {
    // SAFETY: the caller's promise.
    let tensors = unsafe { abi::slice(tensors, len) };
    tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| {
            // SAFETY: the caller's promise.
            let (tensor, info) = unsafe { read(*tensor)? };
            let abi::Tensor { data, byte_offset, byte_len, head, .. } = tensor;
            let pending = head.flags & abi::TENSOR_PENDING != 0;
            Ok(TensorViewMut {
                info,
                data,
                byte_offset,
                byte_len,
                pending,
                index,
                call,
                marker: std::marker::PhantomData,
            })
        })
        .collect()
}

/// # Safety
/// As [`inputs`].
unsafe fn read<'a>(tensor: *const abi::Tensor) -> Result<(abi::Tensor, TensorInfo<'a>)> {
    use abi::AbiStruct;
    // SAFETY: the caller's promise.
    let tensor = unsafe { abi::Tensor::read(tensor) }
        .ok_or_else(|| Error::invalid("a tensor is null or too short"))?;
    let info = TensorInfo {
        dtype: DType::from_abi(tensor.dtype),
        // SAFETY: the caller's promise.
        shape: unsafe { abi::slice(tensor.shape, tensor.rank) },
        // SAFETY: the caller's promise.
        strides: unsafe { abi::slice(tensor.strides, tensor.rank) },
        device: tensor.device,
        value: usize::try_from(tensor.value).unwrap_or(usize::MAX),
    };
    Ok((tensor, info))
}
