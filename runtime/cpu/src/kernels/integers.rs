//! Operators on integers of any width, element by element; results wrap.

use std::marker::PhantomData;

use byoc_graph::DType;
use bytemuck::Pod;

use crate::fast::Isa;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::broadcast::{Walk, broadcast, from};
use crate::kernels::loops;
use crate::kernels::words::{words, words_mut};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const SIGNED: &[DType] = &[DType::I8, DType::I16, DType::I32, DType::I64];
const UNSIGNED: &[DType] = &[DType::U8, DType::U16, DType::U32, DType::U64];
const ALL: &[DType] =
    &[DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];

const fn entry(
    ops: &'static [&'static str],
    dtypes: &'static [DType],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "integers", domain: "", ops, since: 7, dtypes, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max"], ALL, prepare),
    entry(&["BitwiseAnd", "BitwiseOr", "BitwiseXor"], ALL, prepare),
    entry(&["BitShift"], UNSIGNED, prepare),
    entry(&["Neg", "Sign", "Abs"], SIGNED, prepare_one),
    entry(&["BitwiseNot"], ALL, prepare_one),
];

/// A whole number. Those of one width share what does not depend on the sign.
trait Int: Pod + Ord + Send + Sync {
    const ZERO: Self;
    fn add(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn div(self, b: Self) -> Self;
    fn rem(self, b: Self) -> Self;
    fn and(self, b: Self) -> Self;
    fn or(self, b: Self) -> Self;
    fn xor(self, b: Self) -> Self;
    /// Zero where all bits leave.
    fn shl(self, by: Self) -> Self;
    fn shr(self, by: Self) -> Self;
    fn sign(self) -> Self;
}

macro_rules! ints {
    ($($ty:ty),*) => {
        $(impl Int for $ty {
            const ZERO: $ty = 0;
            #[inline(always)]
            fn add(self, b: $ty) -> $ty { self.wrapping_add(b) }
            #[inline(always)]
            fn sub(self, b: $ty) -> $ty { self.wrapping_sub(b) }
            #[inline(always)]
            fn mul(self, b: $ty) -> $ty { self.wrapping_mul(b) }
            #[inline(always)]
            fn div(self, b: $ty) -> $ty { self.wrapping_div(b) }
            #[inline(always)]
            fn rem(self, b: $ty) -> $ty { self.wrapping_rem(b) }
            #[inline(always)]
            fn and(self, b: $ty) -> $ty { self & b }
            #[inline(always)]
            fn or(self, b: $ty) -> $ty { self | b }
            #[inline(always)]
            fn xor(self, b: $ty) -> $ty { self ^ b }
            #[inline(always)]
            fn shl(self, by: $ty) -> $ty {
                if by < <$ty>::BITS as $ty { self.wrapping_shl(by as u32) } else { 0 }
            }
            #[inline(always)]
            fn shr(self, by: $ty) -> $ty {
                if by < <$ty>::BITS as $ty { self.wrapping_shr(by as u32) } else { 0 }
            }
            #[inline(always)]
            fn sign(self) -> $ty {
                <$ty>::from(self > Self::ZERO).wrapping_sub(<$ty>::from(self < Self::ZERO))
            }
        })*
    };
}

ints!(i8, i16, i32, i64, u8, u16, u32, u64);

/// An operator on two whole numbers.
trait Op: Send + Sync + 'static {
    /// The second operand must not be zero.
    const DIVIDES: bool = false;
    fn apply<T: Int>(a: T, b: T) -> T;
}

macro_rules! ops {
    ($($name:ident: |$a:ident, $b:ident| $value:expr;)*) => {
        $(
            struct $name;
            impl Op for $name {
                #[inline(always)]
                fn apply<T: Int>($a: T, $b: T) -> T { $value }
            }
        )*
    };
}

ops! {
    Add: |a, b| a.add(b);
    Sub: |a, b| a.sub(b);
    Mul: |a, b| a.mul(b);
    Min: |a, b| a.min(b);
    Max: |a, b| a.max(b);
    And: |a, b| a.and(b);
    Or: |a, b| a.or(b);
    Xor: |a, b| a.xor(b);
    Left: |a, b| a.shl(b);
    Right: |a, b| a.shr(b);
    Sign: |a, _b| a.sign();
    // Of the absolute value of the least number that number remains.
    Abs: |a, _b| if a < T::ZERO { T::ZERO.sub(a) } else { a };
}

struct Div;

impl Op for Div {
    const DIVIDES: bool = true;

    #[inline(always)]
    fn apply<T: Int>(a: T, b: T) -> T {
        a.div(b)
    }
}

/// The rest with the sign of the first operand.
struct Rest;

impl Op for Rest {
    const DIVIDES: bool = true;

    #[inline(always)]
    fn apply<T: Int>(a: T, b: T) -> T {
        a.rem(b)
    }
}

/// The rest with the sign of the second operand.
struct Modulo;

impl Op for Modulo {
    const DIVIDES: bool = true;

    #[inline(always)]
    fn apply<T: Int>(a: T, b: T) -> T {
        let rest = a.rem(b);
        if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest.add(b) } else { rest }
    }
}

/// The kernel where the sign does not matter.
fn by_width<O: Op>(dtype: DType) -> Option<Box<dyn Kernel>> {
    Some(match dtype.bits() {
        8 => Box::new(Both::<u8, O>(PhantomData)),
        16 => Box::new(Both::<u16, O>(PhantomData)),
        32 => Box::new(Both::<u32, O>(PhantomData)),
        _ => Box::new(Both::<u64, O>(PhantomData)),
    })
}

fn by_type<O: Op>(dtype: DType) -> Option<Box<dyn Kernel>> {
    Some(match dtype {
        DType::I8 => Box::new(Both::<i8, O>(PhantomData)),
        DType::I16 => Box::new(Both::<i16, O>(PhantomData)),
        DType::I32 => Box::new(Both::<i32, O>(PhantomData)),
        DType::I64 => Box::new(Both::<i64, O>(PhantomData)),
        _ => return by_width::<O>(dtype),
    })
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let dtype = node.dtype(0)?;
    if node.inputs.len() != 2 || node.dtype(1) != Some(dtype) {
        return None;
    }
    match node.op() {
        "Add" => by_width::<Add>(dtype),
        "Sub" => by_width::<Sub>(dtype),
        "Mul" => by_width::<Mul>(dtype),
        "BitwiseAnd" => by_width::<And>(dtype),
        "BitwiseOr" => by_width::<Or>(dtype),
        "BitwiseXor" => by_width::<Xor>(dtype),
        "Min" => by_type::<Min>(dtype),
        "Max" => by_type::<Max>(dtype),
        "Div" => by_type::<Div>(dtype),
        "Mod" if node.int("fmod").unwrap_or(0) != 0 => by_type::<Rest>(dtype),
        "Mod" => by_type::<Modulo>(dtype),
        "BitShift" => match node.str("direction")? {
            "LEFT" => by_width::<Left>(dtype),
            "RIGHT" => by_width::<Right>(dtype),
            _ => None,
        },
        _ => None,
    }
}

/// Operators of one input are some of two, the other being a constant.
fn prepare_one(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    fn one<T: Int, O: Op>(constant: T, first: bool) -> Option<Box<dyn Kernel>> {
        Some(Box::new(One::<T, O> { constant, first, op: PhantomData }))
    }
    macro_rules! by_type {
        ($op:ty) => {
            match node.dtype(0)? {
                DType::I8 => one::<i8, $op>(0, false),
                DType::I16 => one::<i16, $op>(0, false),
                DType::I32 => one::<i32, $op>(0, false),
                _ => one::<i64, $op>(0, false),
            }
        };
    }
    let bits = node.dtype(0)?.bits();
    match node.op() {
        "Abs" => by_type!(Abs),
        "Sign" => by_type!(Sign),
        "Neg" => match bits {
            8 => one::<u8, Sub>(0, true),
            16 => one::<u16, Sub>(0, true),
            32 => one::<u32, Sub>(0, true),
            _ => one::<u64, Sub>(0, true),
        },
        _ => match bits {
            8 => one::<u8, Xor>(u8::MAX, false),
            16 => one::<u16, Xor>(u16::MAX, false),
            32 => one::<u32, Xor>(u32::MAX, false),
            _ => one::<u64, Xor>(u64::MAX, false),
        },
    }
}

struct Both<T, O>(PhantomData<fn(T) -> O>);

impl<T: Int, O: Op> Kernel for Both<T, O> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        if a.dtype != b.dtype || a.dtype.bits() / 8 != size_of::<T>() {
            return Err(KernelError::DType { expected: a.dtype, got: b.dtype });
        }
        let dims = broadcast(a.dims, b.dims)?;
        let sources = [words::<T>(a)?, words::<T>(b)?];
        let walk = Walk::new(&dims, [a.dims, b.dims]);
        let out = words_mut::<T>(outputs.bytes(0, a.dtype, &dims)?)?;
        if O::DIVIDES && !out.is_empty() && sources[1].contains(&T::ZERO) {
            return Err(KernelError::invalid("a division by zero"));
        }
        let isa = ctx.exec.isa;
        walk.rows(ctx.exec, out, |starts, steps, part| {
            row::<T, O>(isa, [from(sources[0], starts[0]), from(sources[1], starts[1])], steps, part);
        });
        Ok(())
    }
}

struct One<T, O> {
    constant: T,
    /// Whether the constant is the first operand.
    first: bool,
    op: PhantomData<fn() -> O>,
}

impl<T: Int, O: Op> Kernel for One<T, O> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (source, constant) = (words::<T>(x)?, [self.constant]);
        let (isa, first) = (ctx.exec.isa, self.first);
        let out = words_mut::<T>(outputs.bytes(0, x.dtype, x.dims)?)?;
        loops::split(ctx.exec, out, &|range, part| {
            let x = &source[range];
            let (operands, steps) =
                if first { ([&constant[..], x], [0, 1]) } else { ([x, &constant[..]], [1, 0]) };
            row::<T, O>(isa, operands, steps, part);
        });
        Ok(())
    }
}

/// Elements of an operand that is one number, side by side.
const BLOCK: usize = 128;

/// One row; an operand whose step is 0 is its first element throughout.
fn row<T: Int, O: Op>(isa: Isa, [a, b]: [&[T]; 2], steps: [usize; 2], out: &mut [T]) {
    if O::DIVIDES {
        // There are no vectors for it.
        return apply::<T, O>([a, b], steps, out);
    }
    loops::vectorised(
        isa,
        #[inline(always)]
        || apply::<T, O>([a, b], steps, out),
    );
}

#[inline(always)]
fn apply<T: Int, O: Op>([a, b]: [&[T]; 2], steps: [usize; 2], out: &mut [T]) {
    let (mut left, mut right) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
    let filled = out.len().min(BLOCK);
    if steps[0] == 0 && filled > 0 {
        left[..filled].fill(a[0]);
    }
    if steps[1] == 0 && filled > 0 {
        right[..filled].fill(b[0]);
    }
    for (i, out) in out.chunks_mut(BLOCK).enumerate() {
        let a = if steps[0] == 0 { &left[..out.len()] } else { &a[i * BLOCK..][..out.len()] };
        let b = if steps[1] == 0 { &right[..out.len()] } else { &b[i * BLOCK..][..out.len()] };
        out.iter_mut().zip(a).zip(b).for_each(|((out, &a), &b)| *out = O::apply(a, b));
    }
}
