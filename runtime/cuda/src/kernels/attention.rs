//! Attention as one kernel: scores are never written, their softmax goes along with the keys (Milakov and Gimelshein,
//! "Online normalizer calculation for softmax"; Dao, "FlashAttention-2").
//!
//! A block has a tile of rows of one head of keys, those of all heads of queries that share it: 64 rows on tensor cores
//! where there are many and elements are of 16 bits, 16 rows otherwise. Where rows are few, as in decoding, the grid's third
//! dimension splits the keys, and the parts are joined in their order.
//!
//! Sources know how long a head may be at most, since a row of the output lies in registers.

use byoc_plugin::{DType, Error, Result};

use crate::driver::Grid;
use crate::kernel::{Call, Calls, Kernel, Launch, Libraries, Slot, Source};
use crate::shape::{Shape, broadcast_strides, dense, elements};
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

/// How heads lie in a tensor: for batch, head, row and item the axis along which they are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lies {
    /// The tensor's last axis holds so many heads, one behind the other: it counts as two axes.
    pub split: Option<usize>,
    pub axes: [usize; 4],
    /// An axis on which one place is meant, and which.
    pub fixed: Option<(usize, usize)>,
}

impl Lies {
    /// `[batch, head, row, item]`.
    pub const HEADS: Lies = Lies { split: None, axes: [0, 1, 2, 3], fixed: None };

    /// `[batch, row, head · item]`.
    pub fn flat(heads: usize) -> Lies {
        Lies { split: Some(heads), axes: [0, 2, 1, 3], fixed: None }
    }

    /// The tensor with its last axis as two, where that is so.
    fn seen(&self, shape: &[usize]) -> Result<Shape> {
        let wrong = || Error::invalid(format!("{shape:?} has no heads"));
        let mut seen = shape.to_vec();
        if let Some(heads) = self.split {
            let last = seen.pop().filter(|last| heads > 0 && last % heads == 0).ok_or_else(wrong)?;
            seen.extend([heads, last / heads]);
        }
        let rank = seen.len();
        let known = self.axes.iter().chain(self.fixed.iter().map(|(axis, _)| axis)).all(|axis| *axis < rank);
        if !known || rank != 4 + usize::from(self.fixed.is_some()) {
            return Err(wrong());
        }
        Ok(seen)
    }

    /// Batches, heads, rows and items.
    pub fn sizes(&self, shape: &[usize]) -> Result<[usize; 4]> {
        let seen = self.seen(shape)?;
        Ok(self.axes.map(|axis| seen[axis]))
    }

    /// The struct `Heads`: where the first element is, and strides.
    fn fields(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let seen = self.seen(shape)?;
        let strides = dense(&seen);
        let first = self.fixed.map_or(Ok(0), |(axis, place)| match place < seen[axis] {
            true => Ok(place * strides[axis]),
            false => Err(Error::invalid(format!("{shape:?} has no part {place}"))),
        })?;
        Ok([first].into_iter().chain(self.axes.map(|axis| strides[axis])).collect())
    }

    /// The shape of a tensor in which heads of these sizes lie so.
    fn shape(&self, sizes: [usize; 4]) -> Shape {
        let mut seen = vec![1; 4];
        self.axes.iter().zip(sizes).for_each(|(axis, size)| seen[*axis] = size);
        if self.split.is_some() {
            let item = seen.pop().unwrap_or(1);
            seen[2] *= item;
        }
        seen
    }
}

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
    /// Behind as many keys as the past has, which is the last input, for its shape alone, and whose rows are axis 2.
    BehindPast,
}

/// Inputs are queries, keys, values, then what there is of a mask and of lengths, and the past.
pub struct Attention {
    pub dtype: DType,
    pub lies: [Lies; 4],
    pub mask: Option<(Mask, DType)>,
    /// By batch, how many keys there are; the first row is then as far before their end as there are rows.
    pub lengths: Option<DType>,
    pub first: First,
    /// How far a row sees to the left and to the right, itself being 0; `None`: without an end.
    pub sight: [Option<u32>; 2],
    /// 1 / √size where there is none.
    pub scale: Option<f64>,
    pub cap: f64,
}

/// What a launch needs to know.
struct Sizes {
    batches: usize,
    heads: usize,
    group: usize,
    rows: usize,
    keys: usize,
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
        let [q, k, v] = [0, 1, 2].map(|place| self.lies[place].sizes(inputs[place]));
        let ([batches, heads, rows, size], k, v) = (q?, k?, v?);
        let fits = k[0] == batches && v[..3] == k[..3] && k[3] == size && k[1] > 0 && heads % k[1] == 0;
        if !fits {
            return Err(Error::invalid(format!("{inputs:?} do not go together in an attention")));
        }
        let longest = size.max(v[3]);
        if longest > SIZES[2] || longest == 0 || k[2] == 0 {
            return Err(Error::unsupported(format!("heads of {longest} numbers, or no keys")));
        }
        Ok(Sizes { batches, heads, group: heads / k[1], rows, keys: k[2], size, width: v[3] })
    }

    fn mask_place(&self) -> usize {
        3
    }

    fn lengths_place(&self) -> usize {
        3 + usize::from(self.mask.is_some())
    }

    /// The struct `Sight`.
    fn sight(&self, sizes: &Sizes, inputs: &[&[usize]]) -> Result<Vec<u32>> {
        let place = match self.first {
            First::AtStart => 0,
            First::AtEnd => sizes.keys as i64 - sizes.rows as i64,
            First::BehindPast => {
                let past = inputs.last().and_then(|past| past.get(2)).copied();
                past.ok_or_else(|| Error::invalid("a past without rows"))? as i64
            }
        };
        let (mut mask, mut columns) = ([0; 4], sizes.keys);
        if self.mask.is_some() {
            let shape = inputs[self.mask_place()];
            let scores = [sizes.batches, sizes.heads, sizes.rows, sizes.keys];
            // A mask may end before the keys do.
            let last = shape.last().copied().unwrap_or(1);
            if last != 1 && last < sizes.keys {
                columns = last;
            }
            let missing = 4usize.checked_sub(shape.len());
            let fits = |(axis, size): (usize, &usize)| {
                let axis = axis + missing.unwrap_or(0);
                *size == 1 || *size == if axis == 3 { columns } else { scores[axis] }
            };
            if missing.is_none() || !shape.iter().enumerate().all(fits) {
                return Err(Error::invalid(format!("a mask of {shape:?} for scores of {scores:?}")));
            }
            let strides = broadcast_strides(shape, &[scores[0], scores[1], scores[2], columns]);
            mask.copy_from_slice(&strides);
        }
        let side = |side: Option<u32>| side.map_or(u32::MAX, |side| side.min(i32::MAX as u32));
        let scale = self.scale.unwrap_or_else(|| 1.0 / (sizes.size as f64).sqrt());
        let fill = match self.mask {
            Some((Mask::Filled(fill), _)) => fill,
            _ => 0.0,
        };
        let numbers = [sizes.heads, sizes.group, sizes.rows, sizes.keys, sizes.size, sizes.width];
        let mut fields: Vec<u32> = numbers.iter().map(|number| *number as u32).collect();
        fields.extend([place as i32 as u32, side(self.sight[0]), side(self.sight[1])]);
        fields.extend(mask.iter().chain([&columns]).map(|number| *number as u32));
        fields.extend([scale as f32, self.cap as f32, fill].map(f32::to_bits));
        Ok(fields)
    }

    fn write(&self, way: Way) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let mut first = format!("typedef {} T;\ntypedef {} E;\n", of.computed, of.stored);
        first += super::vectors::HELPER;
        first += include_str!("attention.cuh");
        let mut arguments: Vec<String> = Vec::new();
        if way == Way::Join {
            arguments.extend(["const T* __restrict__ parts", "E* __restrict__ y"].map(str::to_owned));
            arguments.extend(["n", "count"].map(|number| format!("const u32 {number}")));
            arguments.extend(["Heads y_lies", "Sight a"].map(|s| format!("const __grid_constant__ {s}")));
            let body = include_str!("attention_join.cuh");
            let source = Source::new("attention_join".into(), &arguments, body);
            return Ok(Source { text: first + &source.text, ..source });
        }
        let (family, size, body, lines) = match way {
            Way::Cores(size) => (
                "attention_cores",
                size,
                include_str!("attention_cores.cuh"),
                include_str!("attention_bits.cuh"),
            ),
            Way::Plain(size) => {
                ("attention", size, include_str!("attention_plain.cuh"), include_str!("attention_lines.cuh"))
            }
            Way::Join => return Err(Error::internal("parts are joined by a source of its own")),
        };
        let mut helper = format!("{first}enum {{ SIZE = {size} }};\n{lines}");
        if let Way::Cores(_) = way {
            helper += super::product::TENSOR_HELPER;
            let [narrow, mma] = match self.dtype {
                DType::F16 => ["float_to_half", "mma_half"],
                _ => ["float_to_brain", "mma_brain"],
            };
            helper += &format!(
                "#define MMA {mma}\n__device__ inline u32 both(float low, float high) {{\n    \
                 return {narrow}(low) | (u32){narrow}(high) << 16;\n}}\n"
            );
        }
        arguments.extend(["q", "k", "v"].map(|name| format!("const E* __restrict__ {name}")));
        let mut mask = String::new();
        if let Some((kind, dtype)) = self.mask {
            arguments.push(format!("const {}* __restrict__ mask", types::of(dtype)?.stored));
            let at = "mask[batch * a.mask_batch + h * a.mask_head + row * a.mask_row + key * a.mask_column]";
            let applied = match kind {
                Mask::Added => format!("s += (T)ld(&{at})"),
                Mask::Filled(_) => format!("s = ld(&{at}) ? s : (T)a.fill"),
            };
            let indent = " ".repeat(20);
            mask = format!("{indent}if (key >= a.columns) s = (T)(-1.0 / 0.0);\n{indent}else {applied};\n");
        }
        let mut span = "{(int)a.keys, a.place}".to_owned();
        if let Some(dtype) = self.lengths {
            arguments.push(format!("const {}* __restrict__ lengths", types::of(dtype)?.stored));
            let length = "(int)smaller_of((long long)lengths[batch], (long long)a.keys)";
            span = format!("{{{length}, (int)lengths[batch] - (int)a.rows}}");
            if self.first == First::BehindPast {
                span = format!("{{{length}, a.place}}");
            }
        }
        arguments.push("E* __restrict__ y".into());
        arguments.extend(matches!(way, Way::Plain(_)).then(|| "T* parts".into()));
        let numbers = ["batches", "each", "wide"].map(|number| format!("const u32 {number}"));
        arguments.extend(numbers);
        let lies = ["q_lies", "k_lies", "v_lies", "y_lies"];
        arguments.extend(lies.map(|name| format!("const __grid_constant__ Heads {name}")));
        arguments.push("const __grid_constant__ Sight a".into());
        let body = body.replace("MASK", &mask).replace("SPAN", &span);
        let source = Source::new(format!("{family}{size}"), &arguments, &body);
        Ok(Source { text: helper + &source.text, ..source })
    }

    /// Whether keys and values may be read 16 bytes at a time.
    fn is_wide(&self, sizes: &Sizes, lies: &[Vec<usize>]) -> bool {
        let pack = super::vectors::pack(self.dtype);
        let fits = |number: &usize| number.is_multiple_of(pack);
        // The last stride is that of items.
        let strides = lies[1][..4].iter().chain(&lies[2][..4]);
        strides.chain([&sizes.size, &sizes.width]).all(fits)
    }
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
        let sight = self.sight(&sizes, inputs)?;
        let shapes = [inputs[0], inputs[1], inputs[2], output];
        let lies: Vec<Vec<usize>> =
            self.lies.iter().zip(shapes).map(|(lies, shape)| lies.fields(shape)).collect::<Result<_>>()?;
        let all = sizes.group * sizes.rows;
        let most = sizes.size.max(sizes.width);
        let class = SIZES.into_iter().find(|size| *size >= most).unwrap_or(SIZES[2]);
        let double = self.dtype == DType::F64;
        let few = ROWS[usize::from(class * if double { 8 } else { 4 } > 512)];
        let cores = matches!(self.dtype, DType::F16 | DType::BF16) && all > few;
        let tile = if cores { CORE_ROWS } else { few };
        let tiles = all.div_ceil(tile);
        let pairs = sizes.batches * (sizes.heads / sizes.group);
        let blocks = pairs * tiles;
        let splits = match cores {
            true => 1,
            false => (ENOUGH_BLOCKS / blocks.max(1)).clamp(1, sizes.keys.div_ceil(LEAST_KEYS)),
        };
        let each = sizes.keys.div_ceil(splits).next_multiple_of(32);
        let parts = sizes.keys.div_ceil(each);
        let places = sizes.batches * sizes.heads * sizes.rows;
        let sum = if double { 8 } else { 4 };
        let scratch = if parts > 1 { (parts * places * (sizes.width + 2) * sum) as u64 } else { 0 };
        let number = |value: usize| vec![value as u32];
        let words = |fields: &Vec<usize>| fields.iter().map(|field| *field as u32).collect::<Vec<_>>();
        let wide = usize::from(self.is_wide(&sizes, &lies));
        let mut structs = vec![number(sizes.batches), number(each), number(wide)];
        structs.extend(lies.iter().map(words));
        structs.push(sight.clone());
        let mut slots: Vec<Slot> =
            self.operands(inputs.len()).into_iter().map(Slot::Input).chain([Slot::Output]).collect();
        // Where there is one part, nothing is written there.
        slots.extend((!cores).then_some(if parts > 1 { Slot::Scratch(0) } else { Slot::Output }));
        let way = if cores { Way::Cores(class) } else { Way::Plain(class) };
        let blocks = [tiles as u32, pairs.clamp(1, MOST_BLOCKS) as u32, parts as u32];
        let launch = Launch { grid: Grid { blocks, threads: THREADS }, structs };
        let mut list = vec![Call::Launch { source: self.source_of(way), launch, slots }];
        if parts > 1 {
            let count = places * sizes.width;
            let structs = vec![number(count), number(parts), words(&lies[3]), sight];
            let (source, launch) = (self.source_of(Way::Join), Launch::over(count, structs));
            list.push(Call::Launch { source, launch, slots: vec![Slot::Scratch(0), Slot::Output] });
        }
        Ok(Calls { list, scratch })
    }

    fn operands(&self, _: usize) -> Vec<usize> {
        (0..self.lengths_place() + usize::from(self.lengths.is_some())).collect()
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
