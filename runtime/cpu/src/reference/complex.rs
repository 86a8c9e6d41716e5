//! Linear operators on complex numbers: on real and on imaginary parts, each by itself.

use byoc_graph::{DType, Tensor};

use super::fault::Fault;

/// Which numbers of a tensor an operator is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Real,
    Imaginary,
}

/// The type of a part, and its bytes.
fn part_of(dtype: DType) -> Option<(DType, usize)> {
    match dtype {
        DType::C64 => Some((DType::F32, 4)),
        DType::C128 => Some((DType::F64, 8)),
        _ => None,
    }
}

/// What `linear` makes of a tensor; of a complex one, what it makes of its parts, put together again.
pub fn by_parts(
    tensor: &Tensor,
    linear: impl Fn(&Tensor, Part) -> Result<Tensor, Fault>,
) -> Result<Tensor, Fault> {
    let Some((part, size)) = part_of(tensor.dtype()) else { return linear(tensor, Part::Real) };
    let of = |which: Part| {
        let numbers =
            tensor.bytes().chunks_exact(size).skip(usize::from(which == Part::Imaginary)).step_by(2);
        let bytes: Vec<u8> = numbers.flatten().copied().collect();
        linear(&Tensor::from_bytes(part, tensor.dims(), bytes.into())?, which)
    };
    let (real, imaginary) = (of(Part::Real)?, of(Part::Imaginary)?);
    let pairs = real.bytes().chunks_exact(size).zip(imaginary.bytes().chunks_exact(size));
    let bytes: Vec<u8> = pairs.flat_map(|(re, im)| [re, im]).flatten().copied().collect();
    Ok(Tensor::from_bytes(tensor.dtype(), real.dims(), bytes.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_together_as_they_were() {
        let numbers: Vec<u8> = [1.0f32, -2.0, 3.0, 4.5].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Tensor::from_bytes(DType::C64, &[2], numbers.into()).unwrap();
        let doubled = |part: &Tensor, _| {
            let values: Vec<f32> = part.as_slice::<f32>()?.iter().map(|x| 2.0 * x).collect();
            Ok(Tensor::from_vec(part.dims(), values)?)
        };
        let got = by_parts(&tensor, doubled).unwrap();
        let want: Vec<u8> = [2.0f32, -4.0, 6.0, 9.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!((got.dtype(), got.dims(), &got.bytes()[..]), (DType::C64, &[2][..], &want[..]));
    }
}
