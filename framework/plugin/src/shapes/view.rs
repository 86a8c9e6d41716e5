//! Operators that give the same elements another shape.

use serde::{Deserialize, Serialize};

use super::from_front;
use super::numbers::{Number, Numbers};
use crate::sdk::{Error, Node, Region, Result};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum View {
    /// As ONNX writes it, with -1; whether 0 copies.
    Reshape(Vec<Number>, bool),
    Flatten(i64),
    Squeeze(Option<Vec<i64>>),
    Unsqueeze(Vec<i64>),
}

impl View {
    /// What Reshape, Flatten, Squeeze or Unsqueeze does.
    pub fn of(region: &Region<'_>, node: &Node<'_>) -> Result<View> {
        let missing = || Error::unsupported("a shape that is known only when it runs").at_node(node.index);
        let axes = || region.ints(node, "axes", 1);
        Ok(match node.op {
            "Reshape" => {
                let target = match region.input(node, 1) {
                    Some(target) => Numbers::of(region).get(target.index).map(<[Number]>::to_vec),
                    None => node.attr_ints("shape").map(|s| s.iter().copied().map(Number::Known).collect()),
                };
                View::Reshape(target.ok_or_else(missing)?, node.attr_int("allowzero").unwrap_or(0) == 0)
            }
            "Flatten" => View::Flatten(node.attr_int("axis").unwrap_or(1)),
            "Squeeze" if node.inputs.len() < 2 || region.input(node, 1).is_none() => {
                View::Squeeze(node.attr_ints("axes").map(<[i64]>::to_vec))
            }
            "Squeeze" => View::Squeeze(Some(axes().ok_or_else(missing)?)),
            "Unsqueeze" => View::Unsqueeze(axes().ok_or_else(missing)?),
            other => return Err(Error::unsupported(format!("{other} is no view")).at_node(node.index)),
        })
    }

    /// Whether it needs the size of this value.
    pub fn wants_size_of(&self, value: usize) -> bool {
        let is_size = |number: &Number| matches!(number, Number::Size(of, _) if *of == value);
        matches!(self, View::Reshape(target, _) if target.iter().any(is_size))
    }

    /// The shape that `dims` become; `sizes` has those of all values. `None` where the elements would not be as many.
    pub fn apply(&self, dims: &[i64], sizes: &[Vec<i64>]) -> Option<Vec<i64>> {
        let total = product(dims)?;
        let place = |axes: &[i64], rank: usize| -> Vec<i64> {
            axes.iter().map(|&axis| from_front(axis, rank)).collect()
        };
        let viewed: Vec<i64> = match self {
            View::Reshape(target, zero_copies) => {
                let dim = |(i, number): (usize, &Number)| match *number {
                    Number::Known(0) if *zero_copies => dims.get(i).copied(),
                    Number::Known(dim) => Some(dim),
                    Number::Size(value, axis) => sizes.get(value)?.get(axis).copied(),
                };
                let target: Vec<i64> = target.iter().enumerate().map(dim).collect::<Option<_>>()?;
                let known = product(&target.iter().copied().filter(|&dim| dim != -1).collect::<Vec<_>>())?;
                let rest = if known == 0 { 0 } else { total / known };
                target.into_iter().map(|dim| if dim == -1 { rest } else { dim }).collect()
            }
            View::Flatten(axis) => {
                let axis = usize::try_from(from_front(*axis, dims.len())).ok()?;
                let (front, back) = dims.split_at_checked(axis)?;
                vec![product(front)?, product(back)?]
            }
            View::Squeeze(axes) => {
                let axes = axes.as_ref().map(|axes| place(axes, dims.len()));
                let gone =
                    |i: usize, dim: i64| axes.as_ref().map_or(dim == 1, |axes| axes.contains(&(i as i64)));
                dims.iter().enumerate().filter(|(i, dim)| !gone(*i, **dim)).map(|(_, dim)| *dim).collect()
            }
            View::Unsqueeze(axes) => {
                let rank = dims.len() + axes.len();
                let (axes, mut rest) = (place(axes, rank), dims.iter().copied());
                let dim = |i: i64| if axes.contains(&i) { Some(1) } else { rest.next() };
                (0..rank as i64).map(dim).collect::<Option<_>>()?
            }
        };
        (product(&viewed)? == total).then_some(viewed)
    }
}

fn product(dims: &[i64]) -> Option<i64> {
    dims.iter().try_fold(1i64, |product, &dim| product.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_the_sizes_of_the_standard() {
        let reshape =
            |target: &[i64]| View::Reshape(target.iter().copied().map(Number::Known).collect(), true);
        let cases = [
            (reshape(&[0, -1]), Some(vec![2, 60])),
            (reshape(&[7, -1]), None),
            (View::Reshape(vec![Number::Size(0, 1), Number::Known(-1)], true), Some(vec![8, 15])),
            (View::Flatten(-1), Some(vec![24, 5])),
            (View::Flatten(9), None),
            (View::Unsqueeze(vec![0, -1]), Some(vec![1, 2, 3, 4, 5, 1])),
            (View::Squeeze(None), Some(vec![2, 3, 4, 5])),
            (View::Squeeze(Some(vec![1])), None),
        ];
        for (view, want) in cases {
            assert_eq!(view.apply(&[2, 3, 4, 5], &[vec![7, 8]]), want, "{view:?}");
        }
        assert_eq!(View::Squeeze(Some(vec![-1])).apply(&[2, 1], &[]), Some(vec![2]));
        assert!(View::Reshape(vec![Number::Size(3, 0)], true).wants_size_of(3));
    }
}
