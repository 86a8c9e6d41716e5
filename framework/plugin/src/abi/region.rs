//! How a plugin walks a region: it fills in what it asks for, the host fills in the rest. All pointers live as long
//! as the call that lent the region.

use super::head::{Binding, DType, Dim, Head, Indices, Region, Str};

abi_structs! {
    head 112 struct RegionInfoArgs {
        head: Head,
        region: *const Region,
        name: Str,
        /// Counts; indices run from 0.
        nodes: u64,
        values: u64,
        composites: u64,
        symbols: u64,
        constants: u64,
        /// Values that come in and go out, in the order of `execute`.
        inputs: Indices,
        outputs: Indices,
    }

    /// A node; nodes are in topological order.
    head 136 struct RegionNodeArgs {
        head: Head,
        region: *const Region,
        index: u64,
        name: Str,
        op: Str,
        /// Empty for ONNX's own domain.
        domain: Str,
        /// The opset version in which the operator got its present meaning.
        since_version: i64,
        /// Values; `NONE` for an input that is missing, or an output that nobody wants.
        inputs: Indices,
        outputs: Indices,
        attributes: u64,
        /// The composite that it belongs to, or `NONE`.
        composite: u64,
    }

    /// An attribute of a node, with the default of the operator where the model leaves it out.
    head 152 struct RegionAttrArgs {
        head: Head,
        region: *const Region,
        node: u64,
        index: u64,
        name: Str,
        /// One of `ATTR_*`: says which of the fields below counts.
        kind: u32,
        /// 1 where the model leaves it out.
        is_default: u32,
        int_value: i64,
        /// `ATTR_FLOAT`.
        float_value: f32,
        reserved: u32,
        /// `ATTR_STRING`, and the raw content of `ATTR_TENSOR`.
        string: Str,
        ints: *const i64,
        floats: *const f32,
        strings: *const Str,
        /// How many `ints`, `floats`, `strings` or `tensor_dims`.
        len: u64,
        /// `ATTR_TENSOR`.
        tensor_dtype: DType,
        tensor_dims: *const i64,
    }

    head 104 struct RegionValueArgs {
        head: Head,
        region: *const Region,
        index: u64,
        name: Str,
        dtype: DType,
        /// -1 where it is not known.
        rank: i64,
        dims: *const Dim,
        /// The node that makes it, and as which output; `NONE` for inputs and constants.
        producer: u64,
        producer_output: u64,
        /// Which constant it is, or `NONE`.
        constant: u64,
    }

    /// Nodes matched by one pattern.
    head 80 struct RegionCompositeArgs {
        head: Head,
        region: *const Region,
        index: u64,
        pattern: Str,
        nodes: Indices,
        bindings: *const Binding,
        bindings_len: u64,
    }

    /// A dimension known by name, with the sizes to expect; 0 and `INT64_MAX` where there is no bound.
    head 72 struct RegionSymbolArgs {
        head: Head,
        region: *const Region,
        index: u64,
        name: Str,
        min: i64,
        likely: i64,
        max: i64,
    }

    /// The region as an ONNX model.
    head 40 struct RegionOnnxArgs {
        head: Head,
        region: *const Region,
        bytes: Str,
    }
}

abi_constants! {
    /// A kind that this interface does not carry (a graph, say); the ONNX form has it.
    ATTR_OTHER: u32 = 0;
    ATTR_INT: u32 = 1;
    ATTR_FLOAT: u32 = 2;
    ATTR_STRING: u32 = 3;
    ATTR_INTS: u32 = 4;
    ATTR_FLOATS: u32 = 5;
    ATTR_STRINGS: u32 = 6;
    ATTR_TENSOR: u32 = 7;
}
