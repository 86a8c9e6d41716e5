//! Attention as one kernel: scores are never written, their softmax goes along with the keys (Milakov and Gimelshein,
//! "Online normalizer calculation for softmax"; Dao, "FlashAttention-2").
//!
//! A block has a tile of rows of one head of keys, those of all heads of queries that share it: 64 rows on tensor cores
//! where there are many and elements are of 16 bits, 16 rows otherwise. Where rows are few, as in decoding, the grid's third
//! dimension splits the keys, and the parts are joined in their order.
//!
//! Keys and values of the past are read where they lie, by sources that know of two addresses.
//!
//! Sources know how long a head may be at most, since a row of the output lies in registers.

mod lies;
mod source;

use byoc_plugin::{DType, Error, Result};

pub use lies::{Lies, words};

use crate::driver::Grid;
use crate::kernel::{Call, Calls, Kernel, Launch, Libraries, Slot, Source};
use crate::shape::{Shape, broadcast_strides, elements};
use crate::types::{self, Kind};

/// Lengths of heads that there are sources for.
const SIZES: [usize; 3] = [64, 128, 256];
/// Rows of a tile on tensor cores; and otherwise, for heads of up to 512 bytes and beyond.
const CORE_ROWS: usize = 64;
const ROWS: [usize; 2] = [16, 8];
const THREADS: u32 = 128;
/// As many blocks keep a large GPU busy; a part has so many keys at least.
const ENOUGH_BLOCKS: usize = 264;
const LEAST_KEYS: usize = 128;
/// Most blocks of a launch's second dimension.
const MOST_BLOCKS: usize = 65535;

/// What a mask's elements mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mask {
    /// Numbers that are added to the scores.
    Added,
    /// Where it says no, a score is this one.
    Filled(f32),
}

/// The place of the first row among the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    AtStart,
    /// The last row is at the last key.
    AtEnd,
    /// Behind the keys of the past.
    BehindPast,
}

/// What a mask of the keys says of each, whatever the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// By batch, the end of the keys that count; behind these, as many starts may stand.
    Ends,
    /// By batch, or by batch and row: above 0 for each key that counts.
    Keys,
}

/// What numbers for each batch say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lengths {
    /// How many keys there are; the first row is then as far before their end as there are rows, or behind the past.
    Keys(DType),
    /// The place of the last key, and in one number for all how many keys there are at most. So many keys of the past count
    /// that the new ones end there; where all are new, none.
    Filled([DType; 2]),
}

impl Lengths {
    /// The operands.
    pub fn named(self) -> Vec<(&'static str, DType)> {
        match self {
            Lengths::Keys(dtype) => vec![("lengths", dtype)],
            Lengths::Filled([lengths, total]) => vec![("lengths", lengths), ("total", total)],
        }
    }
}

/// What takes part in the sum of weights and has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    Zero,
    ByHead(DType),
}

/// Inputs are queries, keys, values, then what there is of keys and values of the past, a mask, a padding, lengths, sinks.
pub struct Attention {
    pub dtype: DType,
    pub lies: [Lies; 4],
    /// How keys and values of the past lie, which come before the others.
    pub past: Option<[Lies; 2]>,
    pub mask: Option<(Mask, DType)>,
    pub padding: Option<Padding>,
    pub lengths: Option<Lengths>,
    pub first: First,
    /// How far a row sees to the left and to the right, itself being 0; `None`: without an end.
    pub sight: [Option<u32>; 2],
    /// 1 / √size where there is none.
    pub scale: Option<f64>,
    pub cap: f64,
    /// What is added to the score of a key that a padding leaves out.
    pub masked: f32,
    pub sink: Option<Sink>,
}

/// What a launch needs to know.
struct Sizes {
    batches: usize,
    heads: usize,
    group: usize,
    rows: usize,
    /// Those of the past and the new ones.
    keys: usize,
    past: usize,
    size: usize,
    width: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain(usize),
    Cores(usize),
    Join,
}

impl Attention {
    /// Of queries, keys and values alone.
    pub fn new(dtype: DType, lies: [Lies; 4]) -> Attention {
        Attention {
            dtype,
            lies,
            past: None,
            mask: None,
            padding: None,
            lengths: None,
            first: First::AtStart,
            sight: [None; 2],
            scale: None,
            cap: 0.0,
            masked: 0.0,
            sink: None,
        }
    }

    fn ways(&self) -> Vec<Way> {
        let cores = matches!(self.dtype, DType::F16 | DType::BF16);
        let each = SIZES.into_iter().flat_map(|size| {
            [Some(Way::Plain(size)), cores.then_some(Way::Cores(size))].into_iter().flatten()
        });
        each.chain([Way::Join]).collect()
    }

    fn source_of(&self, way: Way) -> usize {
        self.ways().iter().position(|own| *own == way).unwrap_or(0)
    }

    fn sizes(&self, inputs: &[&[usize]]) -> Result<Sizes> {
        let [q, mut k, mut v] = [0, 1, 2].map(|place| self.lies[place].sizes(inputs[place]));
        let mut past = 0;
        if let Some(lies) = &self.past {
            let [past_k, past_v] = [lies[0].sizes(inputs[3])?, lies[1].sizes(inputs[4])?];
            if past_k[2] != past_v[2] {
                return Err(Error::invalid(format!("{inputs:?}: pasts of several lengths")));
            }
            past = past_k[2];
            (k, v) = (behind(past_k, k?), behind(past_v, v?));
        }
        let ([batches, heads, rows, size], k, v) = (q?, k?, v?);
        let fits = k[0] == batches && v[..3] == k[..3] && k[3] == size && k[1] > 0 && heads % k[1] == 0;
        if !fits {
            return Err(Error::invalid(format!("{inputs:?} do not go together in an attention")));
        }
        let longest = size.max(v[3]);
        if longest > SIZES[2] || longest == 0 {
            return Err(Error::unsupported(format!("heads of {longest} numbers")));
        }
        elements(&k).and(elements(&v))?;
        Ok(Sizes { batches, heads, group: heads / k[1], rows, keys: k[2], past, size, width: v[3] })
    }

    /// What is read beside queries, keys and values, in the order of the inputs.
    fn further(&self) -> Vec<(&'static str, DType)> {
        let past = self.past.iter().flat_map(|_| [("past_k", self.dtype), ("past_v", self.dtype)]);
        let sinks = match self.sink {
            Some(Sink::ByHead(dtype)) => Some(("sinks", dtype)),
            _ => None,
        };
        past.chain(self.mask.map(|(_, dtype)| ("mask", dtype)))
            .chain(self.padding.map(|_| ("padding", DType::I32)))
            .chain(self.lengths.into_iter().flat_map(Lengths::named))
            .chain(sinks)
            .collect()
    }

    /// The shape of a further operand, where there is one.
    fn shape<'i>(&self, name: &str, inputs: &[&'i [usize]]) -> Option<&'i [usize]> {
        let place = self.further().iter().position(|(own, _)| *own == name)?;
        inputs.get(3 + place).copied()
    }

    /// A mask's strides, and its columns.
    fn mask(&self, sizes: &Sizes, inputs: &[&[usize]]) -> Result<[usize; 5]> {
        let Some(shape) = self.shape("mask", inputs) else { return Ok([0, 0, 0, 0, sizes.keys]) };
        let scores = [sizes.batches, sizes.heads, sizes.rows, sizes.keys];
        // A mask may end before the keys do, and where these lie in a larger cache, behind them.
        let last = shape.last().copied().unwrap_or(1);
        let wider = matches!(self.lengths, Some(Lengths::Filled(_)));
        let columns = if last != 1 && (last < sizes.keys || wider) { last } else { sizes.keys };
        let missing = 4usize.checked_sub(shape.len());
        let fits = |(axis, size): (usize, &usize)| {
            let axis = axis + missing.unwrap_or(0);
            *size == 1 || *size == if axis == 3 { columns } else { scores[axis] }
        };
        if missing.is_none() || !shape.iter().enumerate().all(fits) {
            return Err(Error::invalid(format!("a mask of {shape:?} for scores of {scores:?}")));
        }
        let strides = broadcast_strides(shape, &[scores[0], scores[1], scores[2], columns]);
        Ok([strides[0], strides[1], strides[2], strides[3], columns])
    }

    /// The strides of a mask of the keys.
    fn padding(&self, sizes: &Sizes, inputs: &[&[usize]]) -> Result<[usize; 2]> {
        let Some(shape) = self.shape("padding", inputs) else { return Ok([0; 2]) };
        let Sizes { batches, rows, keys, .. } = *sizes;
        match (self.padding, shape) {
            (Some(Padding::Ends), &[count]) if count == batches => Ok([1, 0]),
            (Some(Padding::Ends), &[count]) if count == 2 * batches => Ok([1, batches]),
            (Some(Padding::Keys), &[b, k]) if [b, k] == [batches, keys] => Ok([keys, 0]),
            (Some(Padding::Keys), &[b, r, k]) if [b, r, k] == [batches, rows, keys] => {
                Ok([rows * keys, keys])
            }
            _ => Err(Error::unsupported(format!("a mask of shape {shape:?} for {keys} keys"))),
        }
    }

    /// The struct `Sight`.
    fn sight(&self, sizes: &Sizes, inputs: &[&[usize]]) -> Result<Vec<u32>> {
        for (name, count) in [("lengths", sizes.batches), ("total", 1), ("sinks", sizes.heads)] {
            if self.shape(name, inputs).is_some_and(|shape| elements(shape).ok() != Some(count)) {
                return Err(Error::invalid(format!("{name} of {inputs:?}, where {count} are needed")));
            }
        }
        let place = match self.first {
            First::AtStart => 0,
            First::AtEnd => sizes.keys.saturating_sub(sizes.rows),
            First::BehindPast => sizes.past,
        };
        let side = |side: Option<u32>| side.map_or(u32::MAX, |side| side.min(i32::MAX as u32));
        let scale = self.scale.unwrap_or_else(|| 1.0 / (sizes.size as f64).sqrt());
        let fill = match self.mask {
            Some((Mask::Filled(fill), _)) => fill,
            _ => 0.0,
        };
        let Sizes { heads, group, rows, keys, size, width, past, .. } = *sizes;
        let mut fields = words(&[heads, group, rows, keys, size, width, past, place]);
        fields.extend(self.sight.map(side));
        fields.extend(words(&self.mask(sizes, inputs)?));
        fields.extend(words(&self.padding(sizes, inputs)?));
        fields.extend([scale as f32, self.cap as f32, fill, self.masked].map(f32::to_bits));
        Ok(fields)
    }

    /// How heads lie: those of queries, keys, values, keys and values of the past, and the output, as their structs.
    fn fields(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Vec<Vec<usize>>> {
        let past = self.past.iter().flatten();
        let own = self.lies[..3].iter().chain(past).zip(inputs);
        own.chain([(&self.lies[3], &output)]).map(|(lies, shape)| lies.fields(shape)).collect()
    }

    /// Whether keys and values may be read 16 bytes at a time.
    fn is_wide(&self, sizes: &Sizes, fields: &[Vec<usize>]) -> bool {
        let pack = super::vectors::pack(self.dtype);
        let fits = |number: &usize| number.is_multiple_of(pack);
        // The last stride is that of items.
        let read = &fields[1..fields.len() - 1];
        let strides = read.iter().flat_map(|fields| &fields[..4]);
        read.iter().all(|fields| fields[4] == 1) && strides.chain([&sizes.size, &sizes.width]).all(fits)
    }

    /// The way, and of how many rows its tiles are.
    fn way(&self, sizes: &Sizes) -> (Way, usize) {
        let most = sizes.size.max(sizes.width);
        let class = SIZES.into_iter().find(|size| *size >= most).unwrap_or(SIZES[2]);
        let few = ROWS[usize::from(class * self.sum() > 512)];
        let cores = matches!(self.dtype, DType::F16 | DType::BF16) && sizes.group * sizes.rows > few;
        if cores { (Way::Cores(class), CORE_ROWS) } else { (Way::Plain(class), few) }
    }

    /// Bytes of a number that is summed up.
    fn sum(&self) -> usize {
        if self.dtype == DType::F64 { 8 } else { 4 }
    }
}

/// Keys behind those of the past.
fn behind(past: [usize; 4], new: [usize; 4]) -> Result<[usize; 4]> {
    if [past[0], past[1], past[3]] != [new[0], new[1], new[3]] {
        return Err(Error::invalid(format!("a past of {past:?} before {new:?}")));
    }
    Ok([new[0], new[1], past[2].saturating_add(new[2]), new[3]])
}

impl Kernel for Attention {
    fn source(&self) -> Source {
        self.sources().swap_remove(0)
    }

    fn sources(&self) -> Vec<Source> {
        let written = self.ways().into_iter().map(|way| self.write(way)).collect::<Result<_>>();
        written.unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let Sizes { batches, heads, rows, width, .. } = self.sizes(inputs)?;
        Ok(self.lies[3].shape([batches, heads, rows, width]))
    }

    fn calls(&self, inputs: &[&[usize]], output: &[usize], _: &dyn Libraries) -> Result<Calls> {
        inputs.iter().try_for_each(|shape| elements(shape).map(drop))?;
        let sizes = self.sizes(inputs)?;
        let (sight, fields) = (self.sight(&sizes, inputs)?, self.fields(inputs, output)?);
        let (way, tile) = self.way(&sizes);
        let split = matches!(way, Way::Plain(_));
        let tiles = (sizes.group * sizes.rows).div_ceil(tile);
        let pairs = sizes.batches * (sizes.heads / sizes.group);
        let keys = sizes.keys.max(1);
        let splits = match split {
            true => (ENOUGH_BLOCKS / (pairs * tiles).max(1)).clamp(1, keys.div_ceil(LEAST_KEYS)),
            false => 1,
        };
        let each = keys.div_ceil(splits).next_multiple_of(32);
        let parts = keys.div_ceil(each);
        let places = sizes.batches * sizes.heads * sizes.rows;
        let scratch = if parts > 1 { (parts * places * (sizes.width + 2) * self.sum()) as u64 } else { 0 };
        let number = |value: usize| vec![value as u32];
        let wide = usize::from(self.is_wide(&sizes, &fields));
        let mut structs = vec![number(sizes.batches), number(each), number(wide)];
        structs.extend(fields.iter().map(|fields| words(fields)));
        structs.push(sight.clone());
        let mut slots: Vec<Slot> =
            self.operands(inputs.len()).into_iter().map(Slot::Input).chain([Slot::Output]).collect();
        // Where there is one part, nothing is written there.
        slots.extend(split.then_some(if parts > 1 { Slot::Scratch(0) } else { Slot::Output }));
        let blocks = [tiles as u32, pairs.clamp(1, MOST_BLOCKS) as u32, parts as u32];
        let launch = Launch { grid: Grid { blocks, threads: THREADS }, structs };
        let mut list = vec![Call::Launch { source: self.source_of(way), launch, slots }];
        if parts > 1 {
            let count = places * sizes.width;
            let structs = vec![number(count), number(parts), words(&fields[fields.len() - 1]), sight];
            let sinks = self.further().iter().position(|(name, _)| *name == "sinks");
            let slots = [Slot::Scratch(0)].into_iter().chain(sinks.map(|place| Slot::Input(3 + place)));
            let slots = slots.chain([Slot::Output]).collect();
            let (source, launch) = (self.source_of(Way::Join), Launch::over(count, structs));
            list.push(Call::Launch { source, launch, slots });
        }
        Ok(Calls { list, scratch })
    }

    fn operands(&self, _: usize) -> Vec<usize> {
        (0..3 + self.further().len()).collect()
    }

    fn work(&self, inputs: &[&[usize]], _: &[usize]) -> f64 {
        let Ok(Sizes { batches, heads, rows, keys, size, width, .. }) = self.sizes(inputs) else {
            return 0.0;
        };
        2.0 * [batches, heads, rows, keys, size + width].iter().map(|size| *size as f64).product::<f64>()
    }
}

/// Whether a mask may be of a type.
pub fn is_mask(mask: Mask, dtype: DType) -> bool {
    let kind = types::of(dtype).map(|of| of.kind);
    match mask {
        Mask::Added => kind == Ok(Kind::Float),
        Mask::Filled(_) => kind == Ok(Kind::Bool),
    }
}
