//! The constants of one executable: lent without a copy, given back one by one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use byoc_plugin::{Error, abi};
use bytes::Bytes;

use crate::memory::AlignedBuffer;
use crate::region::ConstantData;

/// What a `Constants` token points at. It lives longer than the executable that it belongs to.
#[derive(Debug)]
pub(crate) struct ConstantSet {
    slots: Vec<Mutex<Option<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    bytes: Bytes,
    /// What the element type needs.
    align: usize,
}

impl ConstantSet {
    pub(crate) fn new(constants: &[ConstantData]) -> Self {
        let slot = |constant: &ConstantData| {
            let align = (constant.dtype.bits() as usize / 8).next_power_of_two().min(8);
            Mutex::new(Some(Slot { bytes: constant.bytes.clone(), align }))
        };
        ConstantSet { slots: constants.iter().map(slot).collect() }
    }

    pub(crate) fn token(&self) -> *mut abi::Constants {
        (&raw const *self).cast_mut().cast()
    }

    /// # Safety
    /// The token is null, or one of a set that is still there.
    pub(crate) unsafe fn from_token<'a>(token: *mut abi::Constants) -> Option<&'a Self> {
        // SAFETY: the caller's promise.
        unsafe { token.cast::<ConstantSet>().as_ref() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The content, where it stays until it is released. Copied once where it does not lie as its type needs it.
    pub(crate) fn get(&self, index: u64) -> Result<(*const u8, usize, usize), Error> {
        let mut slot = self.slot(index)?;
        let slot =
            slot.as_mut().ok_or_else(|| Error::invalid(format!("constant {index} has been released")))?;
        if !(slot.bytes.as_ptr() as usize).is_multiple_of(slot.align) {
            let mut buffer = AlignedBuffer::new(slot.bytes.len(), AlignedBuffer::ALIGN).ok_or_else(|| {
                Error::new(byoc_plugin::Category::OutOfMemory, "no memory for an aligned constant")
            })?;
            buffer.as_mut_slice().copy_from_slice(&slot.bytes);
            slot.bytes = Bytes::from_owner(buffer);
        }
        let address = slot.bytes.as_ptr() as usize;
        let align = if address == 0 { slot.align } else { 1 << address.trailing_zeros().min(12) };
        Ok((slot.bytes.as_ptr(), slot.bytes.len(), align))
    }

    /// Lets go of the content; again does nothing.
    pub(crate) fn release(&self, index: u64) -> Result<(), Error> {
        self.slot(index)?.take();
        Ok(())
    }

    fn slot(&self, index: u64) -> Result<MutexGuard<'_, Option<Slot>>, Error> {
        let slot = usize::try_from(index).ok().and_then(|index| self.slots.get(index));
        let slot = slot.ok_or_else(|| Error::invalid(format!("there is no constant {index}")))?;
        Ok(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use byoc_plugin::DType;

    use super::*;

    #[test]
    fn aligned_content_is_lent_and_crooked_content_is_copied_once() {
        let buffer = AlignedBuffer::new(9, 64).unwrap();
        let bytes = Bytes::from_owner(buffer);
        let constant =
            |range: std::ops::Range<usize>| ConstantData { dtype: DType::F32, bytes: bytes.slice(range) };
        let set = ConstantSet::new(&[constant(0..8), constant(1..9)]);
        assert_eq!(set.get(0).unwrap().0, bytes.as_ptr());
        let (copied, len, align) = set.get(1).unwrap();
        assert!(copied != bytes[1..].as_ptr() && len == 8 && align >= 4);
        assert_eq!(set.get(1).unwrap().0, copied);
        set.release(0).unwrap();
        set.release(0).unwrap();
        assert!(set.get(0).is_err() && set.get(2).is_err());
    }
}
