//! Kernels of the registry: one family a file, each a table of entries and what prepares them.

use byoc_graph::DType;

use crate::registry::Entry;

mod activation;
mod attention;
mod attention_contrib;
mod attention_standard;
pub(crate) mod batch_normalization;
mod binary;
mod blocked;
mod broadcast;
mod bytes;
mod cast;
mod channel_norm;
mod channels;
mod codings;
mod col2im;
mod compare;
mod compress;
mod conv;
mod conv_integer;
mod conv_transpose;
mod cumulate;
mod einsum;
mod epilogue;
mod fourier;
mod gather;
mod grid_sample;
mod group_query;
mod hardmax;
mod heads;
mod integers;
mod lookup;
mod loops;
mod matmul;
mod matmul_blocks;
mod matmul_integer;
mod neighbours;
mod pixels;
mod places;
mod pooling;
mod projections;
mod q_gemm;
mod quantize;
mod quantized;
mod recurrent;
mod reduce;
pub(crate) mod reference;
pub mod resize;
mod reverse_sequence;
mod rotary;
mod rotary_embedding;
mod rows;
mod runs;
mod scatter;
mod select;
mod shape;
mod skip_norm;
mod slice;
mod top_k;
mod transpose;
mod trilu;
mod unary;
mod windows;
mod words;

/// The tables of all families.
pub(crate) const ALL: &[&[Entry]] = &[
    activation::ENTRIES,
    attention::ENTRIES,
    attention_contrib::ENTRIES,
    attention_standard::ENTRIES,
    batch_normalization::ENTRIES,
    binary::ENTRIES,
    blocked::ENTRIES,
    bytes::ENTRIES,
    cast::ENTRIES,
    channel_norm::ENTRIES,
    channels::ENTRIES,
    col2im::ENTRIES,
    compare::ENTRIES,
    compress::ENTRIES,
    conv::ENTRIES,
    conv_integer::ENTRIES,
    conv_transpose::ENTRIES,
    cumulate::ENTRIES,
    einsum::ENTRIES,
    fourier::ENTRIES,
    gather::ENTRIES,
    grid_sample::ENTRIES,
    group_query::ENTRIES,
    hardmax::ENTRIES,
    integers::ENTRIES,
    lookup::ENTRIES,
    matmul::ENTRIES,
    matmul_blocks::ENTRIES,
    neighbours::ENTRIES,
    places::ENTRIES,
    pooling::ENTRIES,
    projections::ENTRIES,
    q_gemm::ENTRIES,
    quantize::ENTRIES,
    quantized::ENTRIES,
    recurrent::ENTRIES,
    reduce::ENTRIES,
    resize::ENTRIES,
    reverse_sequence::ENTRIES,
    rotary::ENTRIES,
    rotary_embedding::ENTRIES,
    rows::ENTRIES,
    runs::ENTRIES,
    scatter::ENTRIES,
    shape::ENTRIES,
    select::ENTRIES,
    skip_norm::ENTRIES,
    top_k::ENTRIES,
    transpose::ENTRIES,
    trilu::ENTRIES,
    unary::ENTRIES,
];

/// Types whose elements take 1, 2, 4 or 8 bytes: what moves them need not know what they mean.
const MOVABLE: &[DType] = &[
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::Bool,
    DType::U8,
    DType::I8,
    DType::U16,
    DType::I16,
    DType::U32,
    DType::I32,
    DType::U64,
    DType::I64,
];
