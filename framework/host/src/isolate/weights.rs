//! Constants in shared memory: each is copied once, however many regions and workers it is shown to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::shared::Shared;
use crate::memory::AlignedBuffer;
use crate::region::ConstantData;

/// Constants share segments of this size; a larger one has its own.
const SEGMENT: usize = 16 << 20;
/// Segments that are kept though no compiled region needs them.
const KEPT: usize = 4;

/// The constants of one isolated plugin.
#[derive(Default)]
pub(super) struct Store {
    /// The segment that still has room, from this offset.
    open: Option<(Arc<Segment>, usize)>,
    /// By address and length of what was copied.
    index: HashMap<(usize, usize), (Weak<Segment>, usize)>,
    recent: VecDeque<Arc<Segment>>,
    made: u64,
    gone: Arc<Mutex<Vec<u64>>>,
}

pub(super) struct Segment {
    pub id: u64,
    pub fd: OwnedFd,
    shared: Shared,
    gone: Arc<Mutex<Vec<u64>>>,
}

/// Where a constant lies.
#[derive(Clone)]
pub(super) struct Place {
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub len: u64,
}

impl Segment {
    pub fn len(&self) -> u64 {
        self.shared.len() as u64
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

impl Store {
    pub fn places(&mut self, constants: &[ConstantData]) -> io::Result<Vec<Place>> {
        constants.iter().map(|constant| self.place(&constant.bytes)).collect()
    }

    fn place(&mut self, bytes: &[u8]) -> io::Result<Place> {
        let key = (bytes.as_ptr() as usize, bytes.len());
        let known = self.index.get(&key).and_then(|(segment, offset)| Some((segment.upgrade()?, *offset)));
        // The address may be another constant's by now.
        let (segment, offset) = match known.filter(|(segment, offset)| segment.shared.holds(*offset, bytes)) {
            Some(known) => known,
            None => self.add(key, bytes)?,
        };
        Ok(Place { segment, offset: offset as u64, len: bytes.len() as u64 })
    }

    fn add(&mut self, key: (usize, usize), bytes: &[u8]) -> io::Result<(Arc<Segment>, usize)> {
        let open = self.open.as_ref().filter(|(segment, end)| segment.shared.at(*end, bytes.len()).is_some());
        let (segment, offset) = match open {
            Some((segment, end)) => (Arc::clone(segment), *end),
            None => (self.segment(bytes.len().max(SEGMENT))?, 0),
        };
        segment.shared.write(offset, bytes);
        // A constant with a segment of its own leaves no room there.
        if bytes.len() < SEGMENT {
            let end = (offset + bytes.len()).next_multiple_of(AlignedBuffer::ALIGN);
            self.open = Some((Arc::clone(&segment), end));
        }
        if self.index.len() >= 2 * self.index.capacity() / 3 {
            self.index.retain(|_, (segment, _)| segment.strong_count() > 0);
        }
        self.index.insert(key, (Arc::downgrade(&segment), offset));
        Ok((segment, offset))
    }

    fn segment(&mut self, len: usize) -> io::Result<Arc<Segment>> {
        let (shared, fd) = Shared::create(len)?;
        Shared::forbid_writing(&fd)?;
        self.made += 1;
        let segment = Arc::new(Segment { id: self.made, fd, shared, gone: Arc::clone(&self.gone) });
        self.recent.push_back(Arc::clone(&segment));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
        Ok(segment)
    }

    /// Segments that nobody needs any more; each is told once.
    pub fn take_gone(&self) -> Vec<u64> {
        std::mem::take(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The segments of some places, each once.
pub(super) fn segments(places: &[Place]) -> Vec<&Arc<Segment>> {
    let mut seen = HashSet::new();
    places.iter().map(|place| &place.segment).filter(|segment| seen.insert(segment.id)).collect()
}

#[cfg(test)]
mod tests {
    use byoc_plugin::DType;
    use bytes::Bytes;

    use super::*;

    fn constant(bytes: &Bytes) -> ConstantData {
        ConstantData { dtype: DType::U8, bytes: bytes.clone() }
    }

    #[test]
    fn a_constant_is_copied_once_and_segments_go_when_nobody_needs_them() {
        let mut store = Store::default();
        let (small, large) = (Bytes::from(vec![1; 100]), Bytes::from(vec![2; SEGMENT + 1]));
        let first = store.places(&[constant(&small), constant(&large)]).unwrap();
        let again = store.places(&[constant(&large), constant(&small), constant(&small)]).unwrap();
        assert_eq!((again[0].segment.id, again[1].segment.id), (2, 1));
        assert_eq!((again[1].offset, again[2].offset), (first[0].offset, first[0].offset));
        assert_eq!(segments(&again).len(), 2);
        drop((first, again));
        for number in 0..KEPT as u8 {
            store.places(&[constant(&Bytes::from(vec![3 + number; SEGMENT + 1]))]).unwrap();
        }
        // The first still has room.
        assert_eq!(store.take_gone(), [2]);
        assert_eq!(store.places(&[constant(&small)]).unwrap()[0].segment.id, 1);
        assert_eq!(store.take_gone(), [0u64; 0]);
        assert_eq!(store.places(&[constant(&large)]).unwrap()[0].segment.id, 2 + KEPT as u64 + 1);
    }
}
