//! Why a search fails, kept as numbers; words are made of it only when someone asks.

use byoc_graph::ValueId;
use byoc_plugin::table::Constness;
use smallvec::SmallVec;

use crate::program::{CallId, NameId};

/// Why a search went no further. Calls and arguments are those of the pattern.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Why {
    /// The value's maker is no such operator, or nothing makes it.
    Maker {
        call: CallId,
        value: ValueId,
    },
    /// The value is another output of its maker.
    Output {
        call: CallId,
        value: ValueId,
    },
    /// The input is missing, there are too many, or an output is.
    Missing {
        call: CallId,
        arg: usize,
        unit: u32,
    },
    TooMany {
        call: CallId,
        unit: u32,
    },
    NoOutput {
        call: CallId,
        unit: u32,
        output: usize,
    },
    Const {
        name: Option<NameId>,
        value: ValueId,
        wanted: Constness,
    },
    /// The name stands for another value already.
    Differs {
        name: NameId,
        value: ValueId,
    },
    /// Two statements would match one node.
    Twice {
        call: CallId,
        unit: u32,
    },
    /// A leaf would be a value made inside the match.
    Inside {
        value: ValueId,
    },
    Attribute {
        call: CallId,
        unit: u32,
        attribute: usize,
    },
    Opset {
        call: CallId,
        unit: u32,
    },
    /// No node fits a statement that is reached through its inputs.
    Unreached {
        statement: usize,
    },
    /// The search was given up.
    Steps,
}

/// The failure of a search that had bound most nodes.
#[derive(Debug, Clone)]
pub struct NearestMiss {
    pub why: Why,
    pub units: SmallVec<[u32; 4]>,
}
