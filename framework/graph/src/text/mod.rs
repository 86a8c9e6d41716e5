//! ONNX's textual syntax (`docs/Syntax.md` of onnx/onnx) to and from the protobuf messages.
//!
//! [`parse_model`] accepts what ONNX's own parser accepts, and lists of tensors, graphs and types besides,
//! which the grammar has and that parser drops. Errors give line and column; nesting is limited.

mod attribute;
mod cursor;
mod elements;
mod graph;
mod model;
mod print;
mod tensor;
mod types;

pub use cursor::ParseError;
pub use model::parse_model;
pub(crate) use print::print_model;
