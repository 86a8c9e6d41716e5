//! Hosts of other versions, as a plugin may meet them.

use byoc_plugin::abi::{self, AbiStruct};
use serde::{Deserialize, Serialize};

use crate::host_table::HOST;

/// Which version the host shows itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostVersion {
    Own,
    /// Its structs are as short as any that was released.
    Older,
    /// Its structs are longer by what this version knows nothing of.
    Newer,
}

/// Words that a newer host has behind its table.
const MORE: usize = 8;

impl HostVersion {
    /// The minor and the table, which lives as long as the process.
    pub(crate) fn host(self) -> (u32, *const abi::Host) {
        match self {
            HostVersion::Own => (abi::MINOR, &raw const HOST),
            HostVersion::Older => (0, cut(abi::Host::MIN_SIZE)),
            HostVersion::Newer => (abi::MINOR + 1, cut(size_of::<abi::Host>() + 8 * MORE)),
        }
    }
}

/// The host's table in exactly so many bytes; what is beyond its own end is no address of anything.
pub(crate) fn cut(size: usize) -> *const abi::Host {
    let words: &mut [u64] = Box::leak(vec![0xdead_beef_dead_beef; size.div_ceil(8)].into_boxed_slice());
    let length = size.min(size_of::<abi::Host>());
    let to = words.as_mut_ptr().cast::<u8>();
    // SAFETY: `length` bytes are readable there and writable here; the table is plain data.
    unsafe { std::ptr::copy_nonoverlapping((&raw const HOST).cast::<u8>(), to, length) };
    // SAFETY: the words hold at least a head, and are aligned for it.
    unsafe { to.cast::<u32>().write(size as u32) };
    to.cast()
}
