//! The state of one execution: arena, heap buffers, and what each value is right now.

use std::sync::Arc;

use byoc_cpu::{Buffer, BufferPool, KernelError, TensorView, View};
use byoc_graph::{DType, Datum, StaticDims};

use crate::aside::Away;
use crate::device::{DeviceFrame, Devices, OnDevice};
use crate::memory::{MemoryPlan, StorageIndex};

/// Where the bytes of a storage are at this moment.
#[derive(Default)]
pub(crate) enum Held {
    #[default]
    Nothing,
    /// In its place in the arena.
    Arena,
    /// In the buffer that the caller bound to this output of the program.
    Bound(usize),
    Buffer(Buffer),
    /// In a storage that is there for the whole run, an input or a constant, behind so many bytes of it.
    Lent {
        by: StorageIndex,
        start: usize,
    },
    Datum(Box<Datum>),
    /// On a device.
    Device(OnDevice),
}

#[derive(Default)]
pub(crate) struct Frame {
    pub plan: Arc<MemoryPlan>,
    pub away: Away,
    /// Before `held`, which may own memory that streams use.
    pub device: DeviceFrame,
    pub arena: Buffer,
    /// By storage.
    pub held: Vec<Held>,
    /// By value.
    pub dims: Vec<StaticDims>,
    pub dtypes: Vec<DType>,
    /// One for each of the steps that run at once.
    pub pools: Vec<BufferPool>,
}

impl Frame {
    /// A frame for values of these element types, as far as they are known before a run, and for as many steps at
    /// once as there are `pools`.
    pub fn new(dtypes: Vec<DType>, storages: usize, pools: usize) -> Frame {
        Frame {
            held: (0..storages).map(|_| Held::Nothing).collect(),
            dims: vec![StaticDims::new(); dtypes.len()],
            dtypes,
            pools: (0..pools).map(|_| BufferPool::default()).collect(),
            ..Frame::default()
        }
    }

    /// Takes up a plan for other sizes.
    pub fn adopt(&mut self, plan: Arc<MemoryPlan>, devices: &Devices) -> Result<(), KernelError> {
        self.arena.resize(plan.size)?;
        self.device.adopt(devices, &plan).map_err(|e| KernelError::Other(Box::new(e)))?;
        for (dims, planned) in self.dims.iter_mut().zip(&plan.dims) {
            if let Some(planned) = planned {
                dims.clone_from(planned);
            }
        }
        self.plan = plan;
        Ok(())
    }

    /// Puts away what a storage holds, a buffer into the pool that it is from; `lent` to steps that may still be under
    /// way, it is kept for now.
    pub fn release(&mut self, storage: usize, pool: usize, lent: bool) {
        match std::mem::take(&mut self.held[storage]) {
            Held::Nothing | Held::Arena | Held::Bound(_) | Held::Lent { .. } => {}
            held if lent => self.device.deferred.push(held),
            Held::Buffer(buffer) => self.pools[pool].give(buffer),
            Held::Datum(_) | Held::Device(_) => {}
        }
    }

    /// Puts away what was kept; nothing is under way any more.
    pub fn release_deferred(&mut self) {
        for held in self.device.deferred.drain(..) {
            if let Held::Buffer(buffer) = held {
                self.pools[0].give(buffer);
            }
        }
    }
}

/// The view of a storage that holds a buffer or a datum.
pub(crate) fn view_of<'a>(held: &'a Held, dtype: DType, dims: &'a [usize]) -> Option<View<'a>> {
    match held {
        Held::Buffer(buffer) => {
            let len = bytes_of(dtype, dims)?;
            Some(View::Tensor(TensorView::new(dtype, dims, buffer.bytes().get(..len)?)))
        }
        Held::Datum(datum) => Some(match &**datum {
            Datum::Tensor(tensor) => View::Tensor(TensorView::of(tensor).with_dims(dims)),
            other => View::Other(other),
        }),
        Held::Nothing | Held::Arena | Held::Bound(_) | Held::Lent { .. } | Held::Device(_) => None,
    }
}

/// Bytes that a tensor takes; `None` for strings and what cannot be addressed.
pub(crate) fn bytes_of(dtype: DType, dims: &[usize]) -> Option<usize> {
    dtype.byte_len(byoc_graph::element_count(dims)?)
}
