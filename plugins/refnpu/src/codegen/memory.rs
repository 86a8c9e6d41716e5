//! The device's memory: constants, and where each tensor lives and for how long.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::LowerError;
use crate::device::{ACTIVATIONS_BASE, ALIGNMENT};
use crate::layer::Network;

/// Constants one behind the other, each once.
#[derive(Default)]
pub struct Constants {
    bytes: Vec<u8>,
    /// Where those of one hash and length are.
    places: HashMap<(u64, usize), Vec<u32>>,
}

impl Constants {
    /// The address of these bytes. Whether all addresses were good is for [`Constants::finish`] to say.
    pub fn place(&mut self, bytes: &[u8]) -> u32 {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let known = self.places.entry((hasher.finish(), bytes.len())).or_default();
        let same = |place: &&u32| self.bytes.get(**place as usize..).is_some_and(|at| at.starts_with(bytes));
        if let Some(place) = known.iter().find(same) {
            return *place;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let address = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        known.push(address);
        address
    }

    pub fn finish(self) -> Result<Vec<u8>, LowerError> {
        if self.bytes.len() > ACTIVATIONS_BASE as usize { Err(LowerError::Memory) } else { Ok(self.bytes) }
    }
}

/// Addresses of a network's tensors.
pub struct Plan {
    pub addresses: Vec<u32>,
    pub bytes: usize,
}

/// First fit in the order of layers: a tensor's memory is free again behind its last use. Inputs and outputs keep
/// theirs for the whole run.
pub fn plan(network: &Network) -> Result<Plan, LowerError> {
    let forever = network.layers.len();
    let mut lives: Vec<(usize, usize)> = vec![(forever, 0); network.tensors.len()];
    for (index, layer) in network.layers.iter().enumerate() {
        for &tensor in layer.inputs.iter().chain([&layer.output]) {
            lives[tensor] = (lives[tensor].0.min(index), lives[tensor].1.max(index));
        }
    }
    for border in network.inputs.iter().chain(&network.outputs) {
        lives[border.tensor] = (0, forever);
    }

    let mut order: Vec<usize> = (0..network.tensors.len()).collect();
    order.sort_by_key(|&tensor| (lives[tensor].0, tensor));
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    let mut plan = Plan { addresses: vec![ACTIVATIONS_BASE; network.tensors.len()], bytes: 0 };
    for tensor in order {
        let size = network.tensors[tensor].bytes().next_multiple_of(ALIGNMENT);
        let mut offset = 0;
        for &(from, to, other) in &placed {
            let apart = lives[other].1 < lives[tensor].0 || lives[tensor].1 < lives[other].0;
            if !apart && from < offset + size && offset < to {
                offset = to;
            }
        }
        placed.push((offset, offset + size, tensor));
        placed.sort_unstable();
        plan.addresses[tensor] = ACTIVATIONS_BASE.checked_add(offset as u32).ok_or(LowerError::Memory)?;
        plan.bytes = plan.bytes.max(offset + size);
        if plan.bytes > (u32::MAX - ACTIVATIONS_BASE) as usize {
            return Err(LowerError::Memory);
        }
    }
    Ok(plan)
}
