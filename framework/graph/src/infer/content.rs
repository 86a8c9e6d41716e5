//! What is known of the elements of a small tensor: numbers and symbolic dimensions, so that shapes
//! computed by a model (`Shape → Gather → Concat → Reshape`) are followed through it.

use smallvec::SmallVec;

use crate::{DType, Dim, StaticDims, Tensor, element_count};

/// Elements that are followed at most; larger tensors are not shapes.
pub const MAX_ELEMENTS: usize = 256;

/// One element. What is not known is `Int(Dim::Unknown)`, whatever its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Whole numbers and booleans.
    Int(Dim),
    Float(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    dims: StaticDims,
    elements: Vec<Scalar>,
}

impl Scalar {
    pub const UNKNOWN: Scalar = Scalar::Int(Dim::Unknown);

    pub fn int(value: i64) -> Scalar {
        Scalar::Int(Dim::Static(value))
    }

    pub fn dim(&self) -> Dim {
        match self {
            Scalar::Int(dim) => dim.clone(),
            Scalar::Float(_) => Dim::Unknown,
        }
    }

    /// The value as a dimension, where it is a whole number of whatever type.
    pub fn whole(&self) -> Dim {
        match self {
            Scalar::Float(x) if x.fract() == 0.0 && x.abs() < 9.0e15 => Dim::Static(*x as i64),
            other => other.dim(),
        }
    }

    /// The value, where it is a plain number.
    pub fn number(&self) -> Option<f64> {
        match self {
            // Shapes and indices stay far below 2^53, where the conversion would round.
            Scalar::Int(Dim::Static(n)) => Some(*n as f64),
            Scalar::Float(x) => Some(*x),
            Scalar::Int(_) => None,
        }
    }
}

impl Content {
    /// `None` where there are too many elements, or not as many as the dimensions say.
    pub fn new(dims: &[usize], elements: Vec<Scalar>) -> Option<Content> {
        let fits = elements.len() <= MAX_ELEMENTS && element_count(dims) == Some(elements.len());
        fits.then(|| Content { dims: dims.into(), elements })
    }

    pub fn vector(dims: impl IntoIterator<Item = Dim>) -> Option<Content> {
        let elements: Vec<Scalar> = dims.into_iter().map(Scalar::Int).collect();
        Content::new(&[elements.len()], elements)
    }

    pub fn scalar(element: Scalar) -> Content {
        Content { dims: StaticDims::new(), elements: vec![element] }
    }

    pub fn of_tensor(tensor: &Tensor) -> Option<Content> {
        if tensor.len() > MAX_ELEMENTS {
            return None;
        }
        let elements = match tensor.to_i64s() {
            Some(ints) => ints.into_iter().map(Scalar::int).collect(),
            None => tensor.to_f64s()?.into_iter().map(Scalar::Float).collect(),
        };
        Content::new(tensor.dims(), elements)
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    pub fn elements(&self) -> &[Scalar] {
        &self.elements
    }

    pub fn is_known(&self) -> bool {
        self.elements.iter().any(|e| *e != Scalar::UNKNOWN)
    }

    /// A tensor of these dimensions whose element at each index `f` gives.
    pub fn build(dims: &[usize], mut f: impl FnMut(&[usize]) -> Option<Scalar>) -> Option<Content> {
        let count = element_count(dims).filter(|&n| n <= MAX_ELEMENTS)?;
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, dims.len());
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(f(&index)?);
            for axis in (0..dims.len()).rev() {
                index[axis] += 1;
                if index[axis] < dims[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Content::new(dims, elements)
    }

    /// The element at an index; `None` outside.
    pub fn at(&self, index: &[usize]) -> Option<&Scalar> {
        let mut offset = 0usize;
        for (&i, &n) in index.iter().zip(&self.dims) {
            if i >= n {
                return None;
            }
            offset = offset * n + i;
        }
        self.elements.get(offset)
    }

    pub fn reshaped(&self, dims: &[usize]) -> Option<Content> {
        Content::new(dims, self.elements.clone())
    }

    pub fn map(&self, f: impl Fn(&Scalar) -> Scalar) -> Content {
        Content { dims: self.dims.clone(), elements: self.elements.iter().map(f).collect() }
    }

    /// Combines tensors element by element, broadcast to `dims`.
    pub fn broadcast(
        dims: &[usize],
        inputs: &[&Content],
        f: impl Fn(&[&Scalar]) -> Scalar,
    ) -> Option<Content> {
        Content::build(dims, |index| {
            let mut operands: SmallVec<[&Scalar; 3]> = SmallVec::new();
            for input in inputs {
                let skip = index.len().checked_sub(input.dims.len())?;
                let own: SmallVec<[usize; 4]> = index[skip..]
                    .iter()
                    .zip(&input.dims)
                    .map(|(&i, &n)| if n == 1 { 0 } else { i })
                    .collect();
                operands.push(input.at(&own)?);
            }
            Some(f(&operands))
        })
    }

    /// Makes elements what the element type can hold: fractions are rounded to it, and what may be out of
    /// its range becomes unknown.
    pub fn fit(&mut self, dtype: DType) {
        for element in &mut self.elements {
            let fits = match element {
                // No dimension is too large for 32 bits in practice, but for fewer it may well be.
                Scalar::Int(Dim::Symbolic(_)) => dtype.bits() >= 32,
                Scalar::Int(Dim::Static(n)) => integer_range(dtype).is_none_or(|range| range.contains(n)),
                Scalar::Int(Dim::Unknown) => true,
                Scalar::Float(x) => match rounded(*x, dtype) {
                    Some(rounded) => {
                        *x = rounded;
                        true
                    }
                    None => false,
                },
            };
            if !fits {
                *element = Scalar::UNKNOWN;
            }
        }
    }
}

fn integer_range(dtype: DType) -> Option<std::ops::RangeInclusive<i64>> {
    Some(match dtype {
        DType::I32 => i32::MIN.into()..=i32::MAX.into(),
        DType::I16 => i16::MIN.into()..=i16::MAX.into(),
        DType::I8 => i8::MIN.into()..=i8::MAX.into(),
        DType::U64 => 0..=i64::MAX,
        DType::U32 => 0..=u32::MAX.into(),
        DType::U16 => 0..=u16::MAX.into(),
        DType::U8 => 0..=u8::MAX.into(),
        DType::Bool => 0..=1,
        _ => return None,
    })
}

/// The nearest number of the type; `None` where that is not worked out here.
fn rounded(x: f64, dtype: DType) -> Option<f64> {
    match dtype {
        DType::F64 => Some(x),
        DType::F32 => Some(f64::from(x as f32)),
        DType::F16 => Some(half::f16::from_f64(x).to_f64()),
        DType::BF16 => Some(half::bf16::from_f64(x).to_f64()),
        _ => None,
    }
}
