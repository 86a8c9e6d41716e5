//! Elements below a byte, as codes of one byte each.
//!
//! Packed, the codes are one stream of bits: each lies in the next bits, lowest first, and the last byte is
//! filled up with zeros. That holds for 2, 4 and 6 bits alike; of 6 bits, one code may lie in two bytes.

use crate::{DType, Tensor};

/// The codes of a tensor of at most 8 bits an element.
#[must_use]
pub fn unpack(tensor: &Tensor) -> Vec<u8> {
    match tensor.dtype().bits() {
        1..8 => unpack_bytes(tensor.bytes(), tensor.dtype().bits(), tensor.len()),
        _ => tensor.bytes().to_vec(),
    }
}

/// The first `count` codes in `bytes`, which have to be as many bytes as that takes.
pub(crate) fn unpack_bytes(bytes: &[u8], bits: usize, count: usize) -> Vec<u8> {
    let mask = (1u16 << bits) - 1;
    let code = |i: usize| {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let next = if shift + bits > 8 { bytes[byte + 1] } else { 0 };
        (u16::from_le_bytes([bytes[byte], next]) >> shift & mask) as u8
    };
    (0..count).map(code).collect()
}

/// The inverse of [`unpack`]: bits of a code that the type does not have are dropped.
#[must_use]
pub fn pack(dtype: DType, codes: &[u8]) -> Vec<u8> {
    let bits = dtype.bits();
    if !(1..8).contains(&bits) {
        return codes.to_vec();
    }
    let mask = (1u16 << bits) - 1;
    let mut bytes = vec![0u8; (codes.len() * bits).div_ceil(8)];
    for (i, &code) in codes.iter().enumerate() {
        let (byte, shift) = (i * bits / 8, i * bits % 8);
        let [low, high] = ((u16::from(code) & mask) << shift).to_le_bytes();
        bytes[byte] |= low;
        if high != 0 {
            bytes[byte + 1] |= high;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_codes_of_six_bits_take_three_bytes() {
        let codes = [0x3f, 0x01, 0x2a, 0x15, 0x20];
        let bytes = pack(DType::F6E2M3, &codes);
        assert_eq!(bytes, [0x3f | 0x01 << 6, 0xa << 4, 0x2 | 0x15 << 2, 0x20]);
        assert_eq!(unpack_bytes(&bytes, 6, 5), codes);
    }

    #[test]
    fn codes_of_every_width_and_count_come_back() {
        for dtype in [DType::U2, DType::I4, DType::F4E2M1, DType::F6E2M3, DType::F6E3M2, DType::U8] {
            for count in 0..=9usize {
                let codes: Vec<u8> =
                    (0..count).map(|i| (i * 7 + 3) as u8 & ((1u16 << dtype.bits()) - 1) as u8).collect();
                let bytes = pack(dtype, &codes);
                assert_eq!(Some(bytes.len()), dtype.byte_len(count), "{dtype} of {count}");
                let tensor = Tensor::from_bytes(dtype, &[count], bytes.into()).unwrap();
                assert_eq!(unpack(&tensor), codes, "{dtype} of {count}");
            }
        }
    }
}
