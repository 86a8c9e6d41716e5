//! Graph IR, operator schemas, shape inference, ONNX in and out, and normalisation.
//!
//! `onnx` reads a file into a [`Model`]; everything else works on that. Only `onnx` and `text` know
//! protobuf.

mod attr;
pub mod cost;
mod datum;
mod dim;
mod dtype;
mod files;
mod graph;
pub mod infer;
mod model;
pub mod normalise;
pub mod npy;
pub mod onnx;
pub mod packed;
pub mod raise;
pub mod recognise;
pub mod schema;
mod tensor;
pub mod text;
mod transposed;
mod types;

pub use attr::{Attr, AttrKind, Attributes, SparseTensor};
pub use datum::{Datum, MapKeys};
pub use dim::{Atom, AtomOp, Dim, Expr};
pub use dtype::{DType, Element};
pub use files::MappedFiles;
pub use graph::{Graph, GraphError, Node, NodeId, NodeSpec, Operator, Origin, Slot, Use, Value, ValueId};
pub use model::{Function, FunctionId, Metadata, Model, Opsets};
pub use tensor::{External, StaticDims, Tensor, TensorError, element_count};
pub use types::{Dims, TensorType, Type};
