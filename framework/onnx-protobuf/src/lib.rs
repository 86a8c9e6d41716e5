// This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0.
// If a copy of the MPL was not distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.

//! The ONNX messages, generated from `proto/onnx` (see the README for how and when), and [`parse`].
//!
//! Parsing is safe on untrusted bytes: nesting is limited, lengths are checked against the input before
//! anything is allocated on their word, and byte fields share the input's memory.

pub mod onnx_data;
pub mod onnx_ml;

pub use onnx_data::*;
pub use onnx_ml::*;
pub use protobuf::{self, EnumOrUnknown, Message, MessageField};

use bytes::Bytes;
use protobuf::CodedInputStream;

/// Parses a whole message. The result's byte fields are views into `bytes`.
///
/// Messages and groups nested deeper than 100 are an error, as they are in Google's implementations.
pub fn parse<M: Message>(bytes: &Bytes) -> protobuf::Result<M> {
    let mut stream = CodedInputStream::from_tokio_bytes(bytes);
    // Without a limit of its own, the stream takes a message that ends early for a complete one.
    stream.push_limit(bytes.len() as u64)?;
    let mut message = M::new();
    message.merge_from(&mut stream)?;
    stream.check_eof()?;
    Ok(message)
}

#[cfg(test)]
mod tests;
