//! Steps that give a value other dimensions and move nothing.

use byoc_cpu::{KernelError, TensorView};
use byoc_graph::{Node, StaticDims, element_count};

/// How the dimensions of the result follow from those of input 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Alias {
    Identity,
    Reshape {
        allow_zero: bool,
    },
    Flatten {
        axis: i64,
    },
    /// Axes as an attribute, or by input 1.
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Unsqueeze {
        axes: Option<Vec<i64>>,
    },
}

impl Alias {
    /// The alias that a node amounts to, if it does.
    pub fn of(node: &Node) -> Option<Alias> {
        if !node.op.domain.is_empty() || node.inputs().first().is_none_or(Option::is_none) {
            return None;
        }
        let int = |name: &str| node.attrs.get(name).and_then(|a| a.as_int());
        let axes = || node.attrs.get("axes").and_then(|a| a.as_ints()).map(<[i64]>::to_vec);
        Some(match &*node.op.name {
            "Identity" => Alias::Identity,
            "Reshape" if node.opset >= 5 => Alias::Reshape { allow_zero: int("allowzero") == Some(1) },
            "Flatten" => Alias::Flatten { axis: int("axis").unwrap_or(1) },
            "Squeeze" => Alias::Squeeze { axes: axes() },
            "Unsqueeze" => Alias::Unsqueeze { axes: axes() },
            _ => return None,
        })
    }

    /// Dimensions of the result. `second` is input 1, where there is one.
    pub fn dims(&self, x: &[usize], second: Option<TensorView<'_>>) -> Result<StaticDims, KernelError> {
        match self {
            Alias::Identity => Ok(x.into()),
            Alias::Reshape { allow_zero } => {
                let shape = second.ok_or(KernelError::MissingInput(1))?;
                let shape = shape.to_i64s().ok_or_else(|| KernelError::invalid("a shape is not of int64"))?;
                reshape(x, &shape, *allow_zero)
            }
            Alias::Flatten { axis } => {
                let rank = x.len() as i64;
                let axis = if *axis < 0 { axis + rank } else { *axis };
                if !(0..=rank).contains(&axis) {
                    return Err(KernelError::invalid(format!(
                        "axis {axis} of Flatten is outside of rank {rank}"
                    )));
                }
                let (outer, inner) = x.split_at(axis as usize);
                let count = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
                let too_large = || KernelError::invalid("a flattened shape is too large");
                Ok(StaticDims::from_slice(&[
                    count(outer).ok_or_else(too_large)?,
                    count(inner).ok_or_else(too_large)?,
                ]))
            }
            Alias::Squeeze { axes } => squeeze(x, axes_of(axes, second)?),
            Alias::Unsqueeze { axes } => {
                let axes = axes_of(axes, second)?.ok_or(KernelError::MissingInput(1))?;
                unsqueeze(x, &axes)
            }
        }
    }
}

type Axes = smallvec::SmallVec<[i64; 8]>;

fn axes_of(attr: &Option<Vec<i64>>, input: Option<TensorView<'_>>) -> Result<Option<Axes>, KernelError> {
    match (attr, input) {
        (Some(axes), _) => Ok(Some(axes.as_slice().into())),
        (None, Some(view)) => {
            view.to_i64s().map(Some).ok_or_else(|| KernelError::invalid("axes are not of int64"))
        }
        (None, None) => Ok(None),
    }
}

fn reshape(x: &[usize], shape: &[i64], allow_zero: bool) -> Result<StaticDims, KernelError> {
    let wrong = || KernelError::invalid(format!("{x:?} cannot be reshaped to {shape:?}"));
    let total = element_count(x).ok_or_else(wrong)?;
    let mut dims = StaticDims::new();
    let mut inferred = None;
    for (i, &d) in shape.iter().enumerate() {
        dims.push(match d {
            0 if !allow_zero => *x.get(i).ok_or_else(wrong)?,
            -1 if inferred.is_none() => {
                inferred = Some(i);
                1
            }
            d => usize::try_from(d).map_err(|_| wrong())?,
        });
    }
    let known = element_count(&dims).ok_or_else(wrong)?;
    if let Some(i) = inferred {
        if known == 0 || !total.is_multiple_of(known) {
            return Err(wrong());
        }
        dims[i] = total / known;
    } else if known != total {
        return Err(wrong());
    }
    Ok(dims)
}

fn normalised(axes: &[i64], rank: usize) -> Result<Vec<bool>, KernelError> {
    let mut marked = vec![false; rank];
    for &axis in axes {
        let at = if axis < 0 { axis + rank as i64 } else { axis };
        let mark = usize::try_from(at).ok().and_then(|at| marked.get_mut(at));
        let mark = mark.filter(|m| !**m).ok_or_else(|| {
            KernelError::invalid(format!("axis {axis} is given twice or outside of rank {rank}"))
        })?;
        *mark = true;
    }
    Ok(marked)
}

fn squeeze(x: &[usize], axes: Option<Axes>) -> Result<StaticDims, KernelError> {
    let Some(axes) = axes else { return Ok(x.iter().copied().filter(|&d| d != 1).collect()) };
    let marked = normalised(&axes, x.len())?;
    if let Some(i) = (0..x.len()).find(|&i| marked[i] && x[i] != 1) {
        return Err(KernelError::invalid(format!("axis {i} of {x:?} cannot be squeezed; its size is not 1")));
    }
    Ok((0..x.len()).filter(|&i| !marked[i]).map(|i| x[i]).collect())
}

fn unsqueeze(x: &[usize], axes: &[i64]) -> Result<StaticDims, KernelError> {
    let marked = normalised(axes, x.len() + axes.len())?;
    let mut rest = x.iter().copied();
    Ok(marked
        .into_iter()
        .map(|new| if new { 1 } else { rest.next().expect("as many as unmarked") })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_follows_the_standard() {
        assert_eq!(&reshape(&[2, 3, 4], &[0, -1], false).unwrap()[..], [2, 12]);
        assert_eq!(&reshape(&[0, 3], &[3, 0], true).unwrap()[..], [3, 0]);
        assert!(reshape(&[2, 3], &[4, -1], false).is_err());
        assert!(reshape(&[2, 3], &[-1, -1], false).is_err());
        assert!(reshape(&[2, 3], &[7], false).is_err());
        assert!(reshape(&[0, 3], &[0, -1], false).is_err());
    }

    #[test]
    fn axes_count_from_either_end() {
        assert_eq!(&unsqueeze(&[3, 4], &[0, -1]).unwrap()[..], [1, 3, 4, 1]);
        assert_eq!(&squeeze(&[1, 3, 1], Some(Axes::from_slice(&[-1]))).unwrap()[..], [1, 3]);
        assert_eq!(&squeeze(&[1, 3, 1], None).unwrap()[..], [3]);
        assert!(squeeze(&[2, 3], Some(Axes::from_slice(&[0]))).is_err());
        assert!(unsqueeze(&[3], &[0, 0]).is_err());
    }
}
