//! The device's memory: at addresses that no processor can follow, with content that only the device can read.

use std::collections::BTreeMap;

use byoc_plugin::{Category, Error, Result};

use crate::clock::Accesses;

/// Device addresses have bits set that no address of a process has.
const FAR: u64 = 0x5a5a << 48;
/// Content lies in memory under this key, so that a stray host pointer into it would read nonsense.
const KEY: u8 = 0xa5;
pub const CAPACITY: u64 = 64 << 20;

#[derive(Default)]
pub struct Memory {
    pieces: BTreeMap<u64, Piece>,
    used: u64,
    next: u64,
}

pub struct Piece {
    /// The device that it is memory of.
    device: u32,
    bytes: Vec<u8>,
    /// By byte: has it been written?
    written: Vec<bool>,
    pub accesses: Accesses,
}

impl Memory {
    pub fn alloc(&mut self, device: u32, size: u64, align: u64) -> Result<u64> {
        if size > CAPACITY - self.used {
            return Err(Error::new(
                Category::OutOfMemory,
                format!("{size} bytes of {}", CAPACITY - self.used),
            ));
        }
        if !align.is_power_of_two() || align > 1 << 20 {
            return Err(Error::invalid(format!("{align} is no alignment")));
        }
        // Addresses are never used again, so that an old one is always noticed.
        let address = FAR | (self.next + align).next_multiple_of(align);
        self.next = (address & !FAR) + size.max(1);
        let size = size as usize;
        let (bytes, written) = (vec![KEY; size], vec![false; size]);
        let piece = Piece { device, bytes, written, accesses: Accesses::default() };
        self.pieces.insert(address, piece);
        self.used += size as u64;
        Ok(address)
    }

    pub fn free(&mut self, address: u64) -> Result<()> {
        let piece = self.pieces.remove(&address).ok_or_else(|| unknown(address))?;
        self.used -= piece.bytes.len() as u64;
        Ok(())
    }

    pub fn used(&self) -> u64 {
        self.used
    }

    /// Is this memory of that device?
    pub fn expect_on(&self, device: u32, address: u64) -> Result<()> {
        let piece = self.pieces.get(&address).filter(|piece| piece.device == device);
        piece.map(drop).ok_or_else(|| unknown(address))
    }

    pub fn piece(&mut self, address: u64) -> Result<&mut Piece> {
        self.pieces.get_mut(&address).ok_or_else(|| unknown(address))
    }

    /// The content, which must have been written.
    pub fn read(&mut self, address: u64, offset: u64, size: u64) -> Result<Vec<u8>> {
        let piece = self.piece(address)?;
        let range = piece.range(offset, size)?;
        if !piece.written[range.clone()].iter().all(|written| *written) {
            return Err(Error::invalid(format!(
                "{size} bytes at {address:#x}+{offset} are read before they are written"
            )));
        }
        Ok(piece.bytes[range].iter().map(|byte| byte ^ KEY).collect())
    }

    pub fn write(&mut self, address: u64, offset: u64, content: &[u8]) -> Result<()> {
        let piece = self.piece(address)?;
        let range = piece.range(offset, content.len() as u64)?;
        piece.written[range.clone()].fill(true);
        piece.bytes[range].iter_mut().zip(content).for_each(|(byte, new)| *byte = new ^ KEY);
        Ok(())
    }
}

impl Piece {
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn range(&self, offset: u64, size: u64) -> Result<std::ops::Range<usize>> {
        let end = offset.checked_add(size).filter(|end| *end <= self.bytes.len() as u64);
        let out =
            || Error::invalid(format!("{size} bytes at {offset} are not in a piece of {}", self.bytes.len()));
        Ok(offset as usize..end.ok_or_else(out)? as usize)
    }
}

fn unknown(address: u64) -> Error {
    Error::invalid(format!("{address:#x} is no memory of this device, or no longer"))
}
