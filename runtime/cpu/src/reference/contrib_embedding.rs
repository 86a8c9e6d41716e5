//! Tables of embeddings as ONNX Runtime fuses them: EmbedLayerNormalization, also quantised, and GatherBlockQuantized.

use byoc_graph::{DType, Datum, Tensor};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout;
use super::norm::moments;
use super::numbers::{self, from_floats};
use super::quantize::centred;
use super::registry::{Entry, contrib};

pub(super) const OPS: &[Entry] = &[
    contrib("EmbedLayerNormalization", embed_layer_normalization),
    contrib("GatherBlockQuantized", gather_block_quantized),
    contrib("QEmbedLayerNormalization", quantised_embed_layer_normalization),
];

/// A matrix of rows to look up.
struct Table {
    values: Vec<f64>,
    rows: usize,
    width: usize,
}

impl Table {
    fn of(tensor: &Tensor) -> Result<Table, Fault> {
        let &[rows, width] = tensor.dims() else {
            return Err(invalid!("a table of embeddings has shape {:?}", tensor.dims()));
        };
        Ok(Table { values: numbers::floats(tensor)?, rows, width })
    }

    fn row(&self, id: i64) -> Result<&[f64], Fault> {
        let row = usize::try_from(id).ok().filter(|&row| row < self.rows);
        let row = row.ok_or_else(|| invalid!("id {id} is outside of a table of {} rows", self.rows))?;
        Ok(&self.values[row * self.width..(row + 1) * self.width])
    }
}

fn embed_layer_normalization(call: &Call<'_>) -> Outputs {
    let (ids, segments) = (call.whole(0)?, call.whole_opt(1)?);
    let &[batch, sequence] = call.tensor(0)?.dims() else {
        return Err(invalid!("ids of shape {:?}", call.tensor(0)?.dims()));
    };
    let (words, places) = (Table::of(call.tensor(2)?)?, Table::of(call.tensor(3)?)?);
    let kinds = call.tensor_opt(4)?.map(Table::of).transpose()?;
    let (gamma, beta) = (call.floats(5)?, call.floats(6)?);
    let (mask, positions) = (call.whole_opt(7)?, call.whole_opt(8)?);
    let width = words.width;
    let fits = places.width == width && kinds.as_ref().is_none_or(|k| k.width == width);
    ensure!(fits && gamma.len() == width && beta.len() == width, "tables and scales differ in width");
    let per_id = |list: &Option<Vec<i64>>| list.as_ref().is_none_or(|l| l.len() == ids.len());
    ensure!(per_id(&segments) && per_id(&mask), "segments or mask do not go with the ids");
    let epsilon = call.float("epsilon")?;
    let dims = [batch, sequence, width];
    let mut sum = Vec::with_capacity(layout::count(&dims)?);
    let mut y = Vec::with_capacity(sum.capacity());
    for (at, &id) in ids.iter().enumerate() {
        let position = match &positions {
            // One list of positions may serve every sequence.
            Some(given) => *given.get(at % given.len().max(1)).ok_or(Fault::Missing(8))?,
            None => (at % sequence) as i64,
        };
        let mut row: Vec<f64> =
            words.row(id)?.iter().zip(places.row(position)?).map(|(a, b)| a + b).collect();
        if let (Some(kinds), Some(segments)) = (&kinds, &segments) {
            row.iter_mut().zip(kinds.row(segments[at])?).for_each(|(x, k)| *x += k);
        }
        let (mean, variance) = moments(&row);
        let scale = 1.0 / (variance + epsilon).sqrt();
        y.extend(row.iter().zip(gamma.iter().zip(&beta)).map(|(x, (g, b))| (x - mean) * scale * g + b));
        sum.extend(row);
    }
    let lengths = (0..batch).map(|b| match &mask {
        Some(mask) => mask[b * sequence..(b + 1) * sequence].iter().filter(|&&m| m == 1).count() as i32,
        None => 0,
    });
    let dtype = call.tensor(2)?.dtype();
    let lengths = Tensor::from_vec(&[batch], lengths.collect::<Vec<i32>>())?;
    Ok(vec![from_floats(dtype, &dims, &y)?.into(), lengths.into(), from_floats(dtype, &dims, &sum)?.into()])
}

/// Where its tables, scale and shift are 8-bit integers, each with a scale and a zero point.
fn quantised_embed_layer_normalization(call: &Call<'_>) -> Outputs {
    let plain = |i: usize| -> Result<Option<Datum>, Fault> {
        let Some(tensor) = call.tensor_opt(i)? else { return Ok(None) };
        let scale = call.float_scalar(i + 6)?;
        let values: Vec<f64> = centred(call, i, i + 11, 0)?.into_iter().map(|x| x * scale).collect();
        Ok(Some(from_floats(DType::F32, tensor.dims(), &values)?.into()))
    };
    let tables: Vec<Option<Datum>> = (2..7).map(plain).collect::<Result<_, _>>()?;
    let mut inputs: Vec<Option<&Datum>> = (0..8).map(|i| call.datum_opt(i)).collect();
    inputs.splice(2..7, tables.iter().map(Option::as_ref));
    let mut outputs =
        embed_layer_normalization(&Call { node: call.node, inputs: &inputs, bodies: call.bodies })?;
    outputs.truncate(2);
    Ok(outputs)
}

/// Codes of a few bits with a scale, and perhaps a zero point, for each block along one axis.
struct Blocks {
    codes: Vec<f64>,
    dims: Vec<usize>,
    scales: Vec<f64>,
    zeros: Option<Vec<f64>>,
    /// Where there are no zero points.
    zero: f64,
    axis: usize,
    block: usize,
}

/// The codes in a tensor; bytes hold several, the lowest bits first.
fn codes(tensor: &Tensor, bits: usize) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let mut dims = tensor.dims().to_vec();
    if tensor.dtype() != DType::U8 || bits == 8 {
        return Ok((numbers::floats(tensor)?, dims));
    }
    let per_byte = 8 / bits;
    if let Some(last) = dims.last_mut() {
        *last = last.checked_mul(per_byte).ok_or_else(|| Fault::TooLarge(tensor.dims().to_vec()))?;
    }
    let mask = (1u32 << bits) - 1;
    let split = |&byte: &u8| (0..per_byte).map(move |i| f64::from(u32::from(byte) >> (i * bits) & mask));
    Ok((tensor.bytes().iter().flat_map(split).collect(), dims))
}

impl Blocks {
    fn of(call: &Call<'_>) -> Result<Blocks, Fault> {
        let bits = layout::size(call.int("bits")?)?;
        ensure!(matches!(bits, 2 | 4 | 8), "codes of {bits} bits");
        let data = call.tensor(0)?;
        let (codes_of_data, dims) = codes(data, bits)?;
        let axis = layout::axis(call.int("quantize_axis")?, dims.len())?;
        let block = layout::size(call.int("block_size")?)?;
        ensure!(block > 0, "blocks of no elements");
        let mut scale_dims = dims.clone();
        scale_dims[axis] = dims[axis].div_ceil(block);
        let scales = call.floats(2)?;
        ensure!(call.tensor(2)?.dims() == scale_dims, "scales of shape {:?}", call.tensor(2)?.dims());
        let zeros = call.tensor_opt(3)?.map(|t| codes(t, bits)).transpose()?.map(|(zeros, zero_dims)| {
            // A row of packed zero points ends at a whole byte.
            let (from, to) =
                (zero_dims.last().copied().unwrap_or(1), scale_dims.last().copied().unwrap_or(1));
            zeros.chunks(from.max(1)).flat_map(|row| row.iter().take(to).copied()).collect::<Vec<f64>>()
        });
        ensure!(zeros.as_ref().is_none_or(|z| z.len() == scales.len()), "zero points do not fit");
        let zero = if data.dtype() == DType::U8 { f64::from(1u32 << (bits - 1)) } else { 0.0 };
        Ok(Blocks { codes: codes_of_data, dims, scales, zeros, zero, axis, block })
    }

    fn at(&self, flat: usize) -> f64 {
        let inner: usize = self.dims[self.axis + 1..].iter().product();
        let length = self.dims[self.axis];
        let (outer, along, rest) = (flat / inner / length, flat / inner % length, flat % inner);
        let block = (outer * length.div_ceil(self.block) + along / self.block) * inner + rest;
        let zero = self.zeros.as_ref().map_or(self.zero, |zeros| zeros[block]);
        (self.codes[flat] - zero) * self.scales[block]
    }
}

/// Picks entries along an axis of a table that is quantised in blocks.
fn gather_block_quantized(call: &Call<'_>) -> Outputs {
    let table = Blocks::of(call)?;
    let axis = layout::axis(call.int("gather_axis")?, table.dims.len())?;
    let indices = call.tensor(1)?;
    let length = table.dims[axis];
    let picks: Vec<usize> =
        numbers::whole(indices)?.into_iter().map(|i| layout::index(i, length)).collect::<Result<_, _>>()?;
    let (before, behind) = (&table.dims[..axis], &table.dims[axis + 1..]);
    let dims = [before, indices.dims(), behind].concat();
    let (outer, inner): (usize, usize) = (before.iter().product(), behind.iter().product());
    let mut values = Vec::with_capacity(layout::count(&dims)?);
    for o in 0..outer {
        for &pick in &picks {
            values.extend((0..inner).map(|i| table.at((o * length + pick) * inner + i)));
        }
    }
    Ok(vec![from_floats(call.tensor(2)?.dtype(), &dims, &values)?.into()])
}
