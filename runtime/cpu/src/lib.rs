//! Host CPU kernels: a clear reference for every operator and fast ones for the common.

mod buffer;
mod chunks;
pub mod fast;
pub mod kernel;
mod kernels;
mod memory;
mod outputs;
pub mod peak;
pub mod pool;
pub mod reference;
mod registry;
mod view;

pub use buffer::{ALIGN, Buffer, BufferPool};
pub use kernel::{
    Ctx, InputDesc, Kernel, KernelError, NodeDesc, Observed, Observer, OutputDesc, Stretch, Stretches, Work,
};
pub use kernels::batch_normalization::affine as batch_normalization_affine;
pub use kernels::resize::taps as resize_taps;
pub use outputs::{Made, Outputs, Slot};
pub use registry::{Entry, Prepared, Registry};
pub use view::{TensorView, View, is_aligned};
