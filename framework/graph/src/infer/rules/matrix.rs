//! Matrix products.

use std::collections::BTreeMap;

use super::Family;
use super::arithmetic::broadcast_shapes;
use crate::infer::call::{Call, Outcome, Stop, invalid};
use crate::{Dim, Dims};

pub const FAMILY: Family = Family {
    domain: "",
    rules: &[
        (&["MatMul", "MatMulInteger"], matmul),
        (&["QLinearMatMul"], qlinear_matmul),
        (&["Gemm"], gemm),
        (&["Einsum"], einsum),
        (&["Det"], det),
    ],
};

fn matmul(call: &mut Call<'_, '_>) -> Outcome {
    matmul_of(call, 0, 1, false, false)
}

fn qlinear_matmul(call: &mut Call<'_, '_>) -> Outcome {
    matmul_of(call, 0, 3, false, false)
}

/// The product of inputs `a` and `b`, whose last two axes may be swapped.
pub fn matmul_of(call: &mut Call<'_, '_>, a: usize, b: usize, swap_a: bool, swap_b: bool) -> Outcome {
    let (left, right) = (call.shape(a)?, call.shape(b)?);
    let dims = product_shape(left, right, swap_a, swap_b)?;
    call.set_shape(0, dims)
}

fn product_shape(mut left: Dims, mut right: Dims, swap_a: bool, swap_b: bool) -> Result<Dims, Stop> {
    let (vector_left, vector_right) = (left.len() == 1, right.len() == 1);
    if vector_left {
        left.insert(0, Dim::Static(1));
    }
    if vector_right {
        right.push(Dim::Static(1));
    }
    let (Some(l), Some(r)) = (left.len().checked_sub(2), right.len().checked_sub(2)) else {
        return invalid("a scalar is no matrix");
    };
    if swap_a && !vector_left {
        left.swap(l, l + 1);
    }
    if swap_b && !vector_right {
        right.swap(r, r + 1);
    }
    if let (Dim::Static(k), Dim::Static(other)) = (&left[l + 1], &right[r])
        && k != other
    {
        return invalid(format!("rows of {k} elements meet columns of {other}"));
    }
    let outer = |dims: &Dims, n: usize| dims[..n].iter().cloned().collect::<Dims>();
    let mut dims = broadcast_shapes([&outer(&left, l), &outer(&right, r)])?;
    if !vector_left {
        dims.push(left[l].clone());
    }
    if !vector_right {
        dims.push(right[r + 1].clone());
    }
    Ok(dims)
}

pub fn gemm(call: &mut Call<'_, '_>) -> Outcome {
    let side = |i: usize, flag: &str, at: usize| -> Result<Dim, Stop> {
        let Some(shape) = call.shape_of(i) else { return Ok(Dim::Unknown) };
        if shape.len() != 2 {
            return invalid(format!("input {i} has rank {}, where a matrix is needed", shape.len()));
        }
        Ok(shape[if call.flag(flag) { 1 - at } else { at }].clone())
    };
    if let (Dim::Static(k), Dim::Static(other)) = (side(0, "transA", 1)?, side(1, "transB", 0)?)
        && k != other
    {
        return invalid(format!("rows of {k} elements meet columns of {other}"));
    }
    let dims = [side(0, "transA", 0)?, side(1, "transB", 1)?];
    call.set_shape(0, dims)
}

/// Subscripts of one operand of an Einsum: letters before the ellipsis, if there is one, and after it.
struct Term {
    before: Vec<char>,
    after: Option<Vec<char>>,
}

impl Term {
    fn parse(text: &str) -> Result<Term, Stop> {
        let letters = |part: &str| part.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
        let (before, after) = match text.split_once("...") {
            Some((before, after)) => (letters(before), Some(letters(after))),
            None => (letters(text), None),
        };
        if before.iter().chain(after.iter().flatten()).any(|c| !c.is_ascii_alphabetic()) {
            return invalid(format!("{text:?} is not a list of letters"));
        }
        Ok(Term { before, after })
    }

    fn letters(&self) -> impl Iterator<Item = &char> {
        self.before.iter().chain(self.after.iter().flatten())
    }
}

fn einsum(call: &mut Call<'_, '_>) -> Outcome {
    let Some(equation) = call.text("equation") else { return invalid("there is no `equation`") };
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation, None),
    };
    let terms: Vec<Term> = left.split(',').map(Term::parse).collect::<Result<_, _>>()?;
    if terms.len() != call.inputs.len() {
        return invalid(format!("`equation` has {} operands, the node {}", terms.len(), call.inputs.len()));
    }
    let mut sizes = BTreeMap::<char, Dim>::new();
    let mut ellipses = Vec::<Dims>::new();
    for (i, term) in terms.iter().enumerate() {
        bind(term, &call.shape(i)?, &mut sizes, &mut ellipses)?;
    }
    let ellipsis = broadcast_shapes(&ellipses)?;
    let output = match right {
        Some(right) => Term::parse(right)?,
        // Left out, it is every letter that occurs once, in order of the alphabet, behind the ellipsis.
        None => {
            let once =
                |c: &&char| terms.iter().flat_map(Term::letters).filter(|other| other == c).count() == 1;
            let mut letters: Vec<char> = terms.iter().flat_map(Term::letters).filter(once).copied().collect();
            letters.sort_unstable();
            Term { before: Vec::new(), after: Some(letters) }
        }
    };
    let size = |c: &char| match sizes.get(c) {
        Some(dim) => Ok(dim.clone()),
        None => invalid(format!("`{c}` of the output is in no input")),
    };
    let mut dims: Dims = output.before.iter().map(size).collect::<Result<_, _>>()?;
    if let Some(after) = &output.after {
        dims.extend(ellipsis);
        for c in after {
            dims.push(size(c)?);
        }
    }
    call.set_shape(0, dims)
}

/// Notes the size that each letter of a term stands for.
fn bind(term: &Term, shape: &Dims, sizes: &mut BTreeMap<char, Dim>, ellipses: &mut Vec<Dims>) -> Outcome {
    let named = term.letters().count();
    let fits = if term.after.is_some() { named <= shape.len() } else { named == shape.len() };
    if !fits {
        return invalid(format!("{named} letters for a rank of {}", shape.len()));
    }
    let (front, back) = (term.before.len(), named - term.before.len());
    if term.after.is_some() {
        ellipses.push(shape[front..shape.len() - back].iter().cloned().collect());
    }
    let axes = (0..front).chain(shape.len() - back..shape.len());
    for (c, at) in term.letters().zip(axes) {
        let dim = &shape[at];
        let merged = match sizes.get(c) {
            None | Some(Dim::Static(1)) => dim.clone(),
            Some(known) => crate::infer::merge::same_dim(known, dim),
        };
        sizes.insert(*c, merged);
    }
    Ok(())
}

fn det(call: &mut Call<'_, '_>) -> Outcome {
    let shape = call.shape(0)?;
    let Some(outer) = shape.len().checked_sub(2) else { return invalid("a matrix is needed") };
    call.set_shape(0, shape[..outer].iter().cloned())
}
