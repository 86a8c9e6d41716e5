//! The shape of one operator's schema.

use crate::{Attr, AttrKind, DType, TensorType, Type};

/// One operator at one version, as the standard defines it.
#[derive(Debug, PartialEq)]
pub struct OpSchema {
    /// Empty for the default domain.
    pub domain: &'static str,
    pub name: &'static str,
    pub since_version: i64,
    pub deprecated: bool,
    pub function_body: FunctionBody,
    pub inputs: &'static [Formal],
    pub outputs: &'static [Formal],
    /// Sorted by name.
    pub attributes: &'static [AttrSchema],
    pub type_constraints: &'static [TypeConstraint],
    pub(super) traits: u8,
}

/// Whether the standard defines the operator by other operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionBody {
    None,
    /// Always the same body.
    Fixed,
    /// A body that depends on the attributes and types of the call.
    ContextDependent,
}

/// A formal input or output.
#[derive(Debug, PartialEq)]
pub struct Formal {
    pub name: &'static str,
    /// The name of one of the operator's type constraints, or a type such as `int64`.
    pub type_str: &'static str,
    pub option: FormalOption,
    /// Of a variadic formal: all have the same type.
    pub homogeneous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormalOption {
    Single,
    Optional,
    Variadic { min: usize },
}

#[derive(Debug, PartialEq)]
pub struct AttrSchema {
    pub name: &'static str,
    pub kind: AttrKind,
    pub required: bool,
    pub default: Option<AttrDefault>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttrDefault {
    Int(i64),
    Float(f32),
    String(&'static str),
    Ints(&'static [i64]),
    Floats(&'static [f32]),
    Strings(&'static [&'static str]),
}

impl AttrDefault {
    /// The default as an attribute.
    #[must_use]
    pub fn to_attr(&self) -> Attr {
        match self {
            AttrDefault::Int(i) => Attr::Int(*i),
            AttrDefault::Float(x) => Attr::Float(*x),
            AttrDefault::String(s) => Attr::str(s),
            AttrDefault::Ints(v) => Attr::Ints(v.to_vec()),
            AttrDefault::Floats(v) => Attr::Floats(v.to_vec()),
            AttrDefault::Strings(v) => {
                Attr::Strs(v.iter().map(|s| bytes::Bytes::from_static(s.as_bytes())).collect())
            }
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct TypeConstraint {
    pub name: &'static str,
    pub types: TypeSet,
}

/// A set of types: for each common form, one bit an element type, at ONNX's number of that type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeSet {
    pub tensors: u64,
    pub sequences: u64,
    pub optionals: u64,
    pub optional_sequences: u64,
    /// Maps and sparse tensors, written as ONNX writes them, without spaces.
    pub others: &'static [&'static str],
}

impl OpSchema {
    const COMMUTATIVE: u8 = 1;
    const ELEMENTWISE: u8 = 1 << 1;
    const COMPUTE_HEAVY: u8 = 1 << 2;
    const RANDOM: u8 = 1 << 3;
    const DATA_MOVEMENT: u8 = 1 << 4;

    fn has_trait(&self, bit: u8) -> bool {
        self.traits & bit != 0
    }

    /// Inputs may change places.
    #[must_use]
    pub fn is_commutative(&self) -> bool {
        self.has_trait(Self::COMMUTATIVE)
    }

    /// One output element depends on one element of each broadcast input.
    #[must_use]
    pub fn is_elementwise(&self) -> bool {
        self.has_trait(Self::ELEMENTWISE)
    }

    /// Arithmetic grows faster than the data.
    #[must_use]
    pub fn is_compute_heavy(&self) -> bool {
        self.has_trait(Self::COMPUTE_HEAVY)
    }

    /// Two runs may differ, so it must not be folded (Dropout: because of training).
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.has_trait(Self::RANDOM)
    }

    /// Elements are moved, repeated or dropped, and none is computed.
    #[must_use]
    pub fn is_data_movement(&self) -> bool {
        self.has_trait(Self::DATA_MOVEMENT)
    }

    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static AttrSchema> {
        let index = self.attributes.binary_search_by(|attribute| attribute.name.cmp(name)).ok()?;
        Some(&self.attributes[index])
    }

    /// The formal that an input position belongs to: a variadic last one takes all that follow.
    #[must_use]
    pub fn input(&self, position: usize) -> Option<&'static Formal> {
        formal_at(self.inputs, position)
    }

    #[must_use]
    pub fn output(&self, position: usize) -> Option<&'static Formal> {
        formal_at(self.outputs, position)
    }

    #[must_use]
    pub fn min_inputs(&self) -> usize {
        min_arity(self.inputs)
    }

    /// `None`: as many as one likes.
    #[must_use]
    pub fn max_inputs(&self) -> Option<usize> {
        max_arity(self.inputs)
    }

    #[must_use]
    pub fn min_outputs(&self) -> usize {
        min_arity(self.outputs)
    }

    #[must_use]
    pub fn max_outputs(&self) -> Option<usize> {
        max_arity(self.outputs)
    }

    /// The types that a formal allows.
    #[must_use]
    pub fn constraint(&self, name: &str) -> Option<&'static TypeConstraint> {
        self.type_constraints.iter().find(|constraint| constraint.name == name)
    }
}

fn formal_at(formals: &'static [Formal], position: usize) -> Option<&'static Formal> {
    formals.get(position).or_else(|| formals.last().filter(|last| last.is_variadic()))
}

fn min_arity(formals: &[Formal]) -> usize {
    let needed = |(index, formal): (usize, &Formal)| match formal.option {
        FormalOption::Single => index + 1,
        FormalOption::Optional => 0,
        FormalOption::Variadic { min } => index + min,
    };
    formals.iter().enumerate().map(needed).max().unwrap_or(0)
}

fn max_arity(formals: &[Formal]) -> Option<usize> {
    if formals.last().is_some_and(Formal::is_variadic) { None } else { Some(formals.len()) }
}

impl Formal {
    #[must_use]
    pub fn is_variadic(&self) -> bool {
        matches!(self.option, FormalOption::Variadic { .. })
    }
}

impl TypeSet {
    fn of(mask: u64, element: Option<DType>) -> bool {
        mask != 0 && element.is_none_or(|dtype| mask & (1 << dtype as u8) != 0)
    }

    /// Whether the set has this type; what is unknown of the type is no hindrance.
    #[must_use]
    pub fn allows(&self, ty: &Type) -> bool {
        let element = |inner: &Type| inner.as_tensor().map(|tensor| tensor.dtype);
        match ty {
            Type::Tensor(TensorType { dtype, .. }) => Self::of(self.tensors, *dtype),
            Type::Sequence(None) => self.sequences != 0,
            Type::Sequence(Some(inner)) => {
                element(inner).map_or(self.allows_other(ty), |dtype| Self::of(self.sequences, dtype))
            }
            Type::Optional(None) => self.optionals | self.optional_sequences != 0,
            Type::Optional(Some(inner)) => match &**inner {
                Type::Sequence(Some(inner)) => {
                    element(inner).is_some_and(|dtype| Self::of(self.optional_sequences, dtype))
                }
                Type::Sequence(None) => self.optional_sequences != 0,
                inner => element(inner).is_some_and(|dtype| Self::of(self.optionals, dtype)),
            },
            Type::SparseTensor(_) | Type::Map(..) | Type::Opaque { .. } => self.allows_other(ty),
        }
    }

    fn allows_other(&self, ty: &Type) -> bool {
        onnx_name(ty).is_none_or(|name| self.others.contains(&name.as_str()))
    }

    /// The element type, where the set has one kind of tensor and nothing else.
    #[must_use]
    pub fn only_tensor(&self) -> Option<DType> {
        let alone = self.len() == 1 && self.tensors != 0;
        alone.then(|| DType::from_onnx(self.tensors.trailing_zeros() as i32)).flatten()
    }

    /// How many types are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        let bits = [self.tensors, self.sequences, self.optionals, self.optional_sequences];
        bits.iter().map(|form| form.count_ones() as usize).sum::<usize>() + self.others.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The type as ONNX writes it, without its shape; `None` where some of it is unknown.
#[must_use]
pub fn onnx_name(ty: &Type) -> Option<String> {
    Some(match ty {
        Type::Tensor(tensor) => format!("tensor({})", tensor.dtype?.onnx_name()),
        Type::SparseTensor(tensor) => format!("sparse_tensor({})", tensor.dtype?.onnx_name()),
        Type::Sequence(inner) => format!("seq({})", onnx_name(inner.as_ref()?)?),
        Type::Optional(inner) => format!("optional({})", onnx_name(inner.as_ref()?)?),
        Type::Map(key, value) => {
            let value = onnx_name(value.as_ref()?)?;
            let value = value.strip_prefix("tensor(").and_then(|v| v.strip_suffix(')')).unwrap_or(&value);
            format!("map({},{value})", key.onnx_name())
        }
        Type::Opaque { domain, name } => format!("opaque({domain},{name})"),
    })
}
