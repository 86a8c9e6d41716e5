//! Operators that pick elements by number or place: indices that lie within what they index, each at most once where
//! something is written.

use byoc_graph::Attr;

use super::rules::axis;
use super::shapes::Shaper;

/// As many indices as there are elements, which turn the order along an axis around.
fn reversed(s: &mut Shaper<'_, '_, '_>, node: usize, dims: &[usize]) -> Option<()> {
    let axis = axis(s, node, &[0, 1, -1], dims.len())?.rem_euclid(dims.len() as i64) as usize;
    let (size, step) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
    let count: usize = dims.iter().product();
    let content: Vec<i64> = (0..count).map(|i| (size - 1 - (i / step) % size) as i64).collect();
    s.numbers(s.input(node, 1)?, dims.to_vec(), &content)
}

pub fn gather_elements(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    reversed(s, node, &dims)
}

pub fn scatter_elements(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    reversed(s, node, &dims)?;
    s.suggest(s.input(node, 2)?, dims)
}

/// Rows of the data, each index one of them; how many.
fn rows(s: &mut Shaper<'_, '_, '_>, node: usize, dims: &[usize]) -> Option<usize> {
    let count = *dims.first()?;
    let content: Vec<i64> = (0..count as i64).rev().collect();
    s.numbers(s.input(node, 1)?, vec![count, 1], &content)?;
    Some(count)
}

pub fn gather_nd(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    rows(s, node, &dims).map(drop)
}

pub fn scatter_nd(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    rows(s, node, &dims)?;
    s.suggest(s.input(node, 2)?, dims)
}

pub fn one_hot(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let depth = s.size(&format!("{}.depth", s.node(node).name.clone()));
    axis(s, node, &[-1, 0], dims.len() + 1)?;
    s.numbers(s.input(node, 1)?, Vec::new(), &[depth as i64])?;
    s.suggest(s.input(node, 2)?, vec![2])
}

pub fn range(s: &mut Shaper<'_, '_, '_>, node: usize, _: Vec<usize>) -> Option<()> {
    let limit = s.size(&format!("{}.limit", s.node(node).name.clone()));
    for (slot, number) in [0, limit as i64, 1].into_iter().enumerate() {
        s.numbers(s.input(node, slot)?, Vec::new(), &[number])?;
    }
    Some(())
}

/// One batch entry's length each.
pub fn reverse_sequence(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let (time, batch) = (*dims.first()?, *dims.get(1)?);
    let lengths: Vec<i64> = (0..batch).map(|i| (i % time + 1) as i64).collect();
    s.numbers(s.input(node, 1)?, vec![batch], &lengths)
}

pub fn grid_sample(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let name = s.node(node).name.clone();
    let [height, width] = ["rows", "columns"].map(|side| s.size(&format!("{name}.{side}")));
    s.suggest(s.input(node, 1)?, vec![dims[0], height, width, 2])
}

pub fn roi_align(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let count = s.size(&format!("{}.count", s.node(node).name.clone()));
    let boxes: Vec<i64> = (0..count as i64).flat_map(|i| [0, i % 2, 1 + i % 3, 2 + i % 2]).collect();
    s.numbers(s.input(node, 1)?, vec![count, 4], &boxes)?;
    let batches: Vec<i64> = (0..count).map(|i| (i % dims[0]) as i64).collect();
    s.numbers(s.input(node, 2)?, vec![count], &batches)
}

/// A product of matrices, or of one a turn.
pub fn einsum(s: &mut Shaper<'_, '_, '_>, node: usize, dims: Vec<usize>) -> Option<()> {
    let equation = match s.input(node, 1) {
        Some(right) => {
            let columns = s.size(&format!("{}.columns", s.node(node).name.clone()));
            s.suggest(right, vec![dims[1], columns])?;
            "ij,jk->ik"
        }
        None => "ij->ji",
    };
    s.attr(node, "equation", &[Some(Attr::str(equation))]);
    Some(())
}
