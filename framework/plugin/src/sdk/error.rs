//! The error of a plugin's calls.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::abi;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is; the host decides by it what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Category {
    /// The plugin does not do this: the node or region goes elsewhere.
    Unsupported,
    /// The caller broke the contract, or the data is not valid.
    Invalid,
    OutOfMemory,
    Timeout,
    Cancelled,
    DeviceLost,
    /// A fault of the plugin's own.
    Internal,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub category: Category,
    pub message: String,
    /// Index of the region's node at fault.
    pub node: Option<usize>,
    /// Trying again may help.
    pub retry: bool,
    /// A panic or an exception was caught: the plugin is not to be called again.
    pub panicked: bool,
}

impl Error {
    pub fn new(category: Category, message: impl Into<String>) -> Self {
        Error { category, message: message.into(), node: None, retry: false, panicked: false }
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Category::Unsupported, message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Category::Invalid, message)
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Category::Internal, message)
    }

    /// Names the node at fault.
    pub fn at_node(mut self, node: usize) -> Self {
        self.node = Some(node);
        self
    }

    /// Says that trying again may help.
    pub fn retry(mut self) -> Self {
        self.retry = true;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.category, self.message)
    }
}

impl std::error::Error for Error {}

const CATEGORIES: [(Category, u32, &str); 7] = [
    (Category::Unsupported, abi::ERROR_UNSUPPORTED, "unsupported"),
    (Category::Invalid, abi::ERROR_INVALID, "invalid"),
    (Category::OutOfMemory, abi::ERROR_OUT_OF_MEMORY, "out of memory"),
    (Category::Timeout, abi::ERROR_TIMEOUT, "timeout"),
    (Category::Cancelled, abi::ERROR_CANCELLED, "cancelled"),
    (Category::DeviceLost, abi::ERROR_DEVICE_LOST, "device lost"),
    (Category::Internal, abi::ERROR_INTERNAL, "internal"),
];

impl Category {
    pub fn to_abi(self) -> u32 {
        CATEGORIES
            .iter()
            .find(|(category, ..)| *category == self)
            .map_or(abi::ERROR_INTERNAL, |(_, code, _)| *code)
    }

    /// A category that this version does not know counts as internal.
    pub fn from_abi(code: u32) -> Self {
        CATEGORIES
            .iter()
            .find(|(_, known, _)| *known == code)
            .map_or(Category::Internal, |(category, ..)| *category)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            CATEGORIES.iter().find(|(category, ..)| category == self).map_or("internal", |(.., name)| name);
        f.write_str(name)
    }
}
