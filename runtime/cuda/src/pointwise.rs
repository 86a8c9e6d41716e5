//! Expressions over elements: what is fused into one kernel, and into the end of another.
//!
//! An expression reads operands where the output has its elements. Operands are broadcast as the standard says, or lie
//! along one axis; strides are arguments of the kernel, so one source serves all shapes.

use std::fmt::Write;

use byoc_plugin::{DType, Result};

use crate::scalar::{Gives, Scalar};
use crate::shape::{Walk, broadcast_strides, padded, words};
use crate::types::{self, CType};

/// Most operands of one kernel, and most operations: beyond that, values are written and read again.
pub const MAX_OPERANDS: usize = 10;
pub const MAX_OPERATIONS: usize = 48;

/// Where an operand lies in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Its last dimension is the output's last.
    Trailing,
    /// It has one dimension, which is the output's: so many from the end, 1 for the last.
    FromEnd(usize),
}

/// A value that an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    pub value: usize,
    pub dtype: DType,
    pub align: Align,
}

#[derive(Debug, Clone)]
pub enum Expr {
    /// What the kernel that this is the end of has computed.
    Fresh,
    /// By its place among the operands.
    Read(usize),
    Literal(f64),
    Apply {
        row: &'static Scalar,
        /// Attributes by name.
        attributes: Vec<(&'static str, f64)>,
        arguments: Vec<Typed>,
    },
    Cast(Box<Typed>),
    /// The first where the condition holds, else the second.
    Select(Box<[Typed; 3]>),
}

#[derive(Debug, Clone)]
pub struct Typed {
    pub expr: Expr,
    pub dtype: DType,
}

/// An expression with its operands.
#[derive(Debug, Clone)]
pub struct Pointwise {
    pub operands: Vec<Operand>,
    pub root: Typed,
}

impl Pointwise {
    /// What a kernel computes, as it is.
    pub fn fresh(dtype: DType) -> Pointwise {
        Pointwise { operands: Vec::new(), root: Typed { expr: Expr::Fresh, dtype } }
    }

    pub fn read(operand: Operand) -> Pointwise {
        Pointwise { operands: vec![operand], root: Typed { expr: Expr::Read(0), dtype: operand.dtype } }
    }

    pub fn literal(value: f64, dtype: DType) -> Pointwise {
        Pointwise { operands: Vec::new(), root: Typed { expr: Expr::Literal(value), dtype } }
    }

    /// Joins expressions under a new root, which gets theirs; operands that are the same are read once.
    pub fn join(parts: Vec<Pointwise>, dtype: DType, root: impl FnOnce(Vec<Typed>) -> Expr) -> Pointwise {
        let mut operands: Vec<Operand> = Vec::new();
        let mut roots = Vec::new();
        for part in parts {
            let places: Vec<usize> = part.operands.iter().map(|own| place(&mut operands, *own)).collect();
            roots.push(part.root.mapped(&|expr| match expr {
                Expr::Read(own) => Some(Expr::Read(places[*own])),
                _ => None,
            }));
        }
        Pointwise { operands, root: Typed { expr: root(roots), dtype } }
    }

    /// This expression behind another: what is read of `value` is what `first` computes.
    pub fn behind(self, value: usize, first: &Pointwise) -> Pointwise {
        let mut operands = first.operands.clone();
        let places: Vec<Option<usize>> = self
            .operands
            .iter()
            .map(|own| (own.value != value).then(|| place(&mut operands, *own)))
            .collect();
        let root = self.root.mapped(&|expr| match expr {
            Expr::Read(own) => Some(places[*own].map_or_else(|| first.root.expr.clone(), Expr::Read)),
            _ => None,
        });
        Pointwise { operands, root }
    }

    pub fn operations(&self) -> usize {
        self.root.operations()
    }

    pub fn is_small(&self) -> bool {
        self.operands.len() <= MAX_OPERANDS && self.operations() <= MAX_OPERATIONS
    }

    /// Names of the operators, in the order in which they are computed.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        self.root.names(&mut names);
        names
    }

    /// Arguments of a kernel for the operands, named `x1` and so on, and for their strides.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let address = |(place, operand): (usize, &Operand)| {
            Ok(format!("const {}* __restrict__ x{}", types::of(operand.dtype)?.stored, place + 1))
        };
        self.operands.iter().enumerate().map(address).collect()
    }

    /// The argument with the strides, where there are operands.
    pub fn argument(&self) -> Option<String> {
        let count = self.operands.len();
        (count > 0).then(|| format!("const __grid_constant__ Tail<{count}> tail"))
    }

    /// The struct for that argument.
    pub fn structs(&self, operands: &[&[usize]], output: &[usize]) -> Vec<Vec<u32>> {
        if self.operands.is_empty() {
            return Vec::new();
        }
        let strides = |(operand, shape): (&Operand, &&[usize])| match operand.align {
            Align::Trailing => broadcast_strides(shape, output),
            Align::FromEnd(from_end) => {
                let along = output.len().checked_sub(from_end);
                let size = shape.iter().product::<usize>();
                let own = |axis| usize::from(Some(axis) == along && size != 1);
                (0..output.len()).map(own).collect()
            }
        };
        let strides = self.operands.iter().zip(operands).map(strides).collect();
        // The output itself is dense: what is folded has to be so for it, too.
        let mut walk = Walk { dims: output.to_vec(), strides };
        walk.strides.push(crate::shape::dense(output));
        let walk = walk.folded();
        let mut fields = vec![walk.dims.len() as u32];
        fields.extend(words(&walk.dims));
        walk.strides[..operands.len()].iter().for_each(|strides| fields.extend(words(strides)));
        if walk.dims.is_empty() {
            fields = [vec![0], padded([]), vec![0; operands.len() * crate::shape::MAX_RANK]].concat();
        }
        vec![fields]
    }

    /// Statements that compute the expression for the element `index`, and the name of its value. What is fresh is
    /// called `fresh`.
    pub fn statements(&self, index: &str, indent: &str) -> Result<(String, String)> {
        let mut text = String::new();
        let count = self.operands.len();
        if count > 0 {
            let _ = writeln!(text, "{indent}u32 at[{count}];\n{indent}places(tail, {index}, at);");
        }
        for (place, operand) in self.operands.iter().enumerate() {
            let CType { computed, .. } = types::of(operand.dtype)?;
            let _ = writeln!(text, "{indent}const {computed} r{0} = ld(x{0} + at[{place}]);", place + 1);
        }
        let mut writer = Writer { text, indent, next: 0 };
        let name = writer.value(&self.root)?;
        Ok((writer.text, name))
    }
}

/// The place of an operand in a list, where it is put if it is not there.
fn place(operands: &mut Vec<Operand>, operand: Operand) -> usize {
    operands.iter().position(|known| *known == operand).unwrap_or_else(|| {
        operands.push(operand);
        operands.len() - 1
    })
}

impl Typed {
    fn mapped(&self, leaf: &dyn Fn(&Expr) -> Option<Expr>) -> Typed {
        let expr = leaf(&self.expr).unwrap_or_else(|| match &self.expr {
            Expr::Apply { row, attributes, arguments } => Expr::Apply {
                row,
                attributes: attributes.clone(),
                arguments: arguments.iter().map(|argument| argument.mapped(leaf)).collect(),
            },
            Expr::Cast(from) => Expr::Cast(Box::new(from.mapped(leaf))),
            Expr::Select(parts) => Expr::Select(Box::new([0, 1, 2].map(|i| parts[i].mapped(leaf)))),
            expr => expr.clone(),
        });
        Typed { expr, dtype: self.dtype }
    }

    fn parts(&self) -> &[Typed] {
        match &self.expr {
            Expr::Apply { arguments, .. } => arguments,
            Expr::Cast(from) => std::slice::from_ref(from),
            Expr::Select(parts) => parts.as_slice(),
            Expr::Fresh | Expr::Read(_) | Expr::Literal(_) => &[],
        }
    }

    fn operations(&self) -> usize {
        let own = usize::from(!self.parts().is_empty());
        own + self.parts().iter().map(Typed::operations).sum::<usize>()
    }

    fn names(&self, names: &mut Vec<&'static str>) {
        self.parts().iter().for_each(|part| part.names(names));
        match &self.expr {
            Expr::Apply { row, .. } => names.push(row.op),
            Expr::Cast(_) => names.push("Cast"),
            Expr::Select(_) => names.push("Where"),
            Expr::Fresh | Expr::Read(_) | Expr::Literal(_) => {}
        }
    }
}

/// Writes an expression as one statement an operation.
struct Writer<'a> {
    text: String,
    indent: &'a str,
    next: usize,
}

impl Writer<'_> {
    fn value(&mut self, typed: &Typed) -> Result<String> {
        let ty = types::of(typed.dtype)?;
        let written = match &typed.expr {
            Expr::Fresh => return Ok("fresh".into()),
            Expr::Read(place) => return Ok(format!("r{}", place + 1)),
            Expr::Literal(value) => return Ok(ty.literal(*value)),
            Expr::Apply { row, attributes, arguments } => {
                let of = types::of(arguments[0].dtype)?;
                let names =
                    arguments.iter().map(|argument| self.value(argument)).collect::<Result<Vec<_>>>()?;
                let attribute = |name: &str| {
                    let known = attributes.iter().find(|(known, _)| *known == name);
                    of.literal(known.map_or(0.0, |(_, value)| *value))
                };
                row.write(&names, of.computed, attribute)
            }
            Expr::Cast(from) => {
                let name = self.value(from)?;
                cast(&name, types::of(from.dtype)?, ty)
            }
            Expr::Select(parts) => {
                let [condition, first, second] = parts.as_ref();
                let (condition, first) = (self.value(condition)?, self.value(first)?);
                let second = self.value(second)?;
                format!("{condition} ? {first} : {second}")
            }
        };
        let name = format!("v{}", self.next);
        self.next += 1;
        let _ = writeln!(self.text, "{}const {} {name} = {written};", self.indent, ty.computed);
        Ok(name)
    }
}

/// One type's number as another's, as the standard's Cast says.
fn cast(name: &str, from: &CType, to: &CType) -> String {
    match (to.dtype, from.is_float()) {
        (DType::Bool, _) => format!("{name} != 0"),
        (DType::F16, _) => format!("half_to_float(float_to_half((float){name}))"),
        (DType::BF16, _) => format!("brain_to_float(float_to_brain((float){name}))"),
        (DType::F32 | DType::F64, _) | (_, false) => format!("({}){name}", to.computed),
        // By way of 64 bits, so that what is beyond the type wraps as it does on the host.
        (DType::U64, true) => {
            format!("(unsigned long long)saturated<unsigned long long>({name}, 0.0, 18446744073709549568.0)")
        }
        (_, true) => format!(
            "({})saturated<long long>({name}, -9223372036854775808.0, 9223372036854774784.0)",
            to.computed
        ),
    }
}

impl Scalar {
    /// The element type of the result.
    pub fn result(&self, of: DType) -> DType {
        match self.gives {
            Gives::Same => of,
            Gives::Bool => DType::Bool,
        }
    }
}
