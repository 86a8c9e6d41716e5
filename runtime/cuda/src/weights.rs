//! Constants on a GPU, once for all sessions of a process: by their content.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use byoc_plugin::{CopyEnd, Device, Result};

use crate::cache::digest;
use crate::gpu::Gpu;

/// What is the same for all who share: the driver, the GPU, the content.
type Key = (usize, u32, String);

/// All that somebody holds. Plugins of one process have their contexts in common, and so the memory.
static SHARED: LazyLock<Mutex<HashMap<Key, Weak<Weight>>>> = LazyLock::new(Mutex::default);

/// A constant's memory, freed when nobody holds it any more.
pub struct Weight {
    gpu: Arc<Gpu>,
    key: Key,
    pub address: u64,
}

/// The constant of this content, which is copied to the GPU unless it is there.
pub fn get(gpu: &Arc<Gpu>, bytes: &[u8]) -> Result<Arc<Weight>> {
    let key = (gpu.driver_id(), gpu.ordinal, digest([bytes]));
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = shared.get(&key).and_then(Weak::upgrade) {
        return Ok(known);
    }
    let address = gpu.alloc(bytes.len() as u64, 0)?;
    // Owned from here on, so that it is freed where the copy fails.
    let weight = Arc::new(Weight { gpu: Arc::clone(gpu), key: key.clone(), address });
    let from = CopyEnd::Host(bytes.as_ptr() as u64);
    let copied = gpu.copy(from, CopyEnd::Device { address, offset: 0 }, bytes.len() as u64, None);
    if copied.is_ok() {
        shared.insert(key, Arc::downgrade(&weight));
    }
    // Who lets go of it takes the lock.
    drop(shared);
    copied.map(|()| weight)
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.gpu.free(self.address);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have copied it anew meanwhile.
        if shared.get(&self.key).is_some_and(|weak| weak.strong_count() == 0) {
            shared.remove(&self.key);
        }
    }
}
