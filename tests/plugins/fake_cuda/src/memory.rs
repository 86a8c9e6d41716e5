//! The device's memory: pieces of the host's, between guards, never used again once freed.

use std::collections::BTreeMap;

/// Bytes before and behind each piece.
const GUARD: usize = 256;
const GUARDED: u8 = 0x5c;
const FRESH: u8 = 0xa5;
const FREED: u8 = 0xdd;
pub const CAPACITY: u64 = 1 << 30;
/// Freed pieces that are kept, so that nobody gets their address.
const QUARANTINE: usize = 64;

#[derive(Default)]
pub struct Memory {
    pieces: BTreeMap<u64, Piece>,
    freed: std::collections::VecDeque<Piece>,
    pub used: u64,
}

struct Piece {
    /// Guards included; 16-byte words, of which the piece begins at a multiple of 256 bytes.
    content: Vec<u128>,
    size: usize,
    device: usize,
}

impl Piece {
    fn start(&self) -> u64 {
        (self.content.as_ptr() as u64 + GUARD as u64).next_multiple_of(GUARD as u64)
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: numbers are bytes.
        unsafe { std::slice::from_raw_parts(self.content.as_ptr().cast(), self.content.len() * 16) }
    }

    fn fill(&mut self, byte: u8) {
        let offset = (self.start() - self.content.as_ptr() as u64) as usize;
        let len = self.content.len() * 16;
        // SAFETY: as above; the piece is ours alone.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.content.as_mut_ptr().cast::<u8>(), len) };
        bytes[offset..offset + self.size].fill(byte);
    }

    fn is_whole(&self) -> bool {
        let offset = (self.start() - self.content.as_ptr() as u64) as usize;
        let bytes = self.bytes();
        let guards = bytes[..offset].iter().chain(&bytes[offset + self.size..]);
        guards.into_iter().all(|byte| *byte == GUARDED)
    }
}

impl Memory {
    /// `None`: there is no room.
    pub fn alloc(&mut self, size: u64, device: usize) -> Option<u64> {
        if size == 0 || size > CAPACITY - self.used {
            return None;
        }
        let words = (size as usize + 3 * GUARD).div_ceil(16);
        let guard = u128::from_ne_bytes([GUARDED; 16]);
        let mut piece = Piece { content: vec![guard; words], size: size as usize, device };
        piece.fill(FRESH);
        let start = piece.start();
        self.pieces.insert(start, piece);
        self.used += size;
        Some(start)
    }

    pub fn free(&mut self, address: u64) -> Result<(), String> {
        let mut piece = self
            .pieces
            .remove(&address)
            .ok_or_else(|| format!("{address:#x} is freed twice, or was never memory"))?;
        self.used -= piece.size as u64;
        let whole = piece.is_whole();
        piece.fill(FREED);
        self.freed.push_back(piece);
        if self.freed.len() > QUARANTINE {
            self.freed.pop_front();
        }
        if whole { Ok(()) } else { Err(format!("something was written beyond the memory at {address:#x}")) }
    }

    /// The start of the piece that an address lies in, with room for so many bytes on that device.
    pub fn piece_on(&self, device: usize, address: u64, size: u64) -> Result<u64, String> {
        let start = self.piece(address, size)?;
        match self.pieces.get(&start) {
            Some(piece) if piece.device != device => {
                Err(format!("{address:#x} is memory of device {}, not of {device}", piece.device))
            }
            _ => Ok(start),
        }
    }

    /// As above, on any device.
    pub fn piece(&self, address: u64, size: u64) -> Result<u64, String> {
        let found = self.pieces.range(..=address).next_back();
        let inside = |(start, piece): &(&u64, &Piece)| {
            address.checked_add(size).is_some_and(|end| end <= **start + piece.size as u64)
        };
        let found = found.filter(inside).map(|(start, _)| *start);
        found.ok_or_else(|| format!("{size} bytes at {address:#x} are no memory, or no longer"))
    }

    /// Whether nothing was written beyond the piece that begins here.
    pub fn check(&self, start: u64) -> Result<(), String> {
        match self.pieces.get(&start) {
            Some(piece) if !piece.is_whole() => {
                Err(format!("something was written beyond the memory at {start:#x}"))
            }
            _ => Ok(()),
        }
    }

    pub fn count(&self) -> usize {
        self.pieces.len()
    }
}
