//! Where elements lie: counts, strides, broadcasting and lanes. All arithmetic on sizes is checked here.

use super::fault::{Fault, ensure, invalid};

/// A tensor that takes more bytes than this while it is worked on is refused before anything is allocated.
pub const MAX_BYTES: usize = 4 << 30;

/// What an element takes while it is worked on: integers of any type are computed in 128 bits.
const WORKING_BYTES: usize = size_of::<i128>();

/// The number of elements, if it is one that can be worked with.
pub fn count(dims: &[usize]) -> Result<usize, Fault> {
    match byoc_graph::element_count(dims) {
        Some(n) if n <= MAX_BYTES / WORKING_BYTES => Ok(n),
        _ => Err(Fault::TooLarge(dims.to_vec())),
    }
}

/// Distances between neighbours along each axis, row-major. Zero where the tensor is empty.
pub fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; dims.len()];
    if !dims.contains(&0) {
        let mut stride = 1;
        for (axis, &dim) in dims.iter().enumerate().rev() {
            strides[axis] = stride;
            stride *= dim;
        }
    }
    strides
}

/// An axis counted from the front; negative ones count from the back.
pub fn axis(axis: i64, rank: usize) -> Result<usize, Fault> {
    let signed = rank as i64;
    ensure!((-signed..signed).contains(&axis), "axis {axis} lies outside a tensor of rank {rank}");
    Ok((if axis < 0 { axis + signed } else { axis }) as usize)
}

/// Several axes, sorted; none may come twice.
pub fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut found: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?;
    found.sort_unstable();
    ensure!(found.windows(2).all(|w| w[0] != w[1]), "an axis comes twice in {axes:?}");
    Ok(found)
}

/// A size from a tensor or an attribute.
pub fn size(value: i64) -> Result<usize, Fault> {
    usize::try_from(value).map_err(|_| invalid!("{value} is not a size"))
}

pub fn sizes(values: &[i64]) -> Result<Vec<usize>, Fault> {
    values.iter().map(|&v| size(v)).collect()
}

/// An index into a dimension; negative ones count from its end.
pub fn index(value: i64, dim: usize) -> Result<usize, Fault> {
    let signed = dim as i64;
    ensure!((-signed..signed).contains(&value), "index {value} lies outside a dimension of {dim}");
    Ok((if value < 0 { value + signed } else { value }) as usize)
}

/// Offsets of a strided box in row-major order of `dims`, from `start`.
///
/// The caller vouches that every offset lies within its tensor.
pub fn offsets(dims: &[usize], strides: &[isize], start: usize) -> Result<Vec<usize>, Fault> {
    let total = count(dims)?;
    let mut found = Vec::with_capacity(total);
    let Some((&last, outer)) = dims.split_last() else {
        return Ok(vec![start]);
    };
    if total == 0 {
        return Ok(found);
    }
    let mut position = vec![0usize; outer.len()];
    let mut at = start as isize;
    let step = strides[outer.len()];
    loop {
        found.extend((0..last as isize).map(|i| (at + i * step) as usize));
        // An odometer over the outer axes.
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return Ok(found);
            }
            axis -= 1;
            position[axis] += 1;
            at += strides[axis];
            if position[axis] < outer[axis] {
                break;
            }
            at -= strides[axis] * outer[axis] as isize;
            position[axis] = 0;
        }
    }
}

/// The shape that all of these broadcast to.
pub fn broadcast<'d>(shapes: impl IntoIterator<Item = &'d [usize]>) -> Result<Vec<usize>, Fault> {
    let mut result: Vec<usize> = Vec::new();
    for dims in shapes {
        if dims.len() > result.len() {
            let missing = dims.len() - result.len();
            result.splice(0..0, std::iter::repeat_n(1, missing));
        }
        let offset = result.len() - dims.len();
        for (axis, &dim) in dims.iter().enumerate() {
            let at = &mut result[offset + axis];
            match (*at, dim) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *at = b,
                _ => return Err(invalid!("shapes {result:?} and {dims:?} do not broadcast")),
            }
        }
    }
    Ok(result)
}

/// For each element of `to`, the element of `from` that broadcasting puts there.
pub fn broadcast_offsets(from: &[usize], to: &[usize]) -> Result<Vec<usize>, Fault> {
    let fits =
        from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&f, &t)| f == t || f == 1);
    ensure!(fits, "shape {from:?} does not broadcast to {to:?}");
    let own = strides(from);
    let missing = to.len() - from.len();
    let stride = |axis: usize| match axis.checked_sub(missing) {
        Some(i) if from[i] != 1 => own[i] as isize,
        _ => 0,
    };
    offsets(to, &(0..to.len()).map(stride).collect::<Vec<_>>(), 0)
}

/// Broadcasts data of shape `from` to `to`.
pub fn expand<T: Clone>(data: Vec<T>, from: &[usize], to: &[usize]) -> Result<Vec<T>, Fault> {
    if from == to {
        return Ok(data);
    }
    Ok(broadcast_offsets(from, to)?.into_iter().map(|i| data[i].clone()).collect())
}

/// A tensor seen as lanes: what lies along some axes, for each position on the others.
pub struct Lanes {
    /// How many lanes there are.
    pub outer: usize,
    /// Elements of a lane.
    pub len: usize,
    /// Where each element of each lane lies, lane by lane.
    offsets: Vec<usize>,
}

impl Lanes {
    /// Lanes along `axes`, which are valid, sorted and unique.
    pub fn new(dims: &[usize], axes: &[usize]) -> Result<Lanes, Fault> {
        let order: Vec<usize> =
            (0..dims.len()).filter(|a| !axes.contains(a)).chain(axes.iter().copied()).collect();
        let own = strides(dims);
        let permuted: Vec<usize> = order.iter().map(|&a| dims[a]).collect();
        let steps: Vec<isize> = order.iter().map(|&a| own[a] as isize).collect();
        let split = dims.len() - axes.len();
        Ok(Lanes {
            outer: count(&permuted[..split])?,
            len: count(&permuted[split..])?,
            offsets: offsets(&permuted, &steps, 0)?,
        })
    }

    /// Offsets of the elements of lane `i`.
    pub fn lane(&self, i: usize) -> &[usize] {
        &self.offsets[i * self.len..(i + 1) * self.len]
    }

    /// All lanes, in row-major order of the other axes.
    pub fn iter(&self) -> impl Iterator<Item = &[usize]> {
        (0..self.outer).map(|i| self.lane(i))
    }

    /// Replaces the elements of every lane by what `f` makes of them.
    pub fn map<T: Copy, R: Clone>(&self, data: &[T], blank: R, mut f: impl FnMut(&[T]) -> Vec<R>) -> Vec<R> {
        let mut out = vec![blank; data.len()];
        let mut buffer = Vec::with_capacity(self.len);
        for lane in self.iter() {
            buffer.clear();
            buffer.extend(lane.iter().map(|&at| data[at]));
            for (&at, value) in lane.iter().zip(f(&buffer)) {
                out[at] = value;
            }
        }
        out
    }

    /// One value for each lane.
    pub fn reduce<T: Copy, R>(&self, data: &[T], mut f: impl FnMut(&[T]) -> R) -> Vec<R> {
        let mut buffer = Vec::with_capacity(self.len);
        let one = |lane: &[usize]| {
            buffer.clear();
            buffer.extend(lane.iter().map(|&at| data[at]));
            f(&buffer)
        };
        self.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_run_along_the_chosen_axes() {
        let lanes = Lanes::new(&[2, 3], &[0]).unwrap();
        assert_eq!(lanes.iter().map(<[usize]>::to_vec).collect::<Vec<_>>(), [[0, 3], [1, 4], [2, 5]]);
        let empty = Lanes::new(&[0, 3], &[0]).unwrap();
        assert_eq!(empty.reduce(&[] as &[i32], <[i32]>::len), [0, 0, 0]);
    }

    #[test]
    fn shapes_broadcast_from_the_right() {
        assert_eq!(broadcast([&[3, 1][..], &[2][..]]).unwrap(), [3, 2]);
        assert!(broadcast([&[3][..], &[2][..]]).is_err());
        assert_eq!(expand(vec![1, 2], &[2, 1], &[2, 2]).unwrap(), [1, 1, 2, 2]);
        assert!(count(&[1 << 40, 1 << 40]).is_err());
        assert_eq!(count(&[1 << 28]).unwrap(), 1 << 28);
        let refused = count(&[(1 << 28) + 1]).unwrap_err().to_string();
        assert!(refused.contains("[268435457]") && refused.contains("4 GiB"), "{refused}");
    }
}
