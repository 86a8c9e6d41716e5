use super::*;
use crate::Element;

fn file(descr: &str, order: &str, shape: &str, data: &[u8]) -> Bytes {
    let header = format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes.into()
}

fn read_back(tensor: &Tensor) -> Tensor {
    let Ok(read) = parse(&to_bytes(tensor).into(), Some(tensor.dtype())) else { panic!("{tensor:?}") };
    read
}

fn elements<T: Element>(bytes: &Bytes) -> Vec<T> {
    let Ok(tensor) = parse(bytes, None) else { panic!("not read") };
    tensor.as_slice::<T>().unwrap().into_owned()
}

#[test]
fn every_type_comes_back() {
    for &dtype in DType::ALL.iter().filter(|&&dtype| dtype != DType::Str) {
        let data = (0..dtype.byte_len(8).unwrap()).map(|i| (i as u8).wrapping_mul(37)).collect::<Bytes>();
        let tensor = Tensor::from_bytes(dtype, &[4, 2], data).unwrap();
        assert_eq!(read_back(&tensor), tensor);
    }
    let texts = ["", "ab", "ü€"].map(|text| Bytes::from_static(text.as_bytes())).to_vec();
    let tensor = Tensor::from_strings(&[3], texts).unwrap();
    assert_eq!(read_back(&tensor), tensor);
    let scalar = Tensor::scalar(2.5f32);
    assert_eq!(read_back(&scalar), scalar);
}

#[test]
fn column_major_and_big_endian_are_put_right() {
    let bytes = file("'<i2'", "True", "(2, 3)", &[1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6, 0]);
    assert_eq!(elements::<i16>(&bytes), [1, 2, 3, 4, 5, 6]);
    let bytes = file("'>i4'", "False", "(1,)", &[0, 0, 1, 2]);
    assert_eq!(elements::<i32>(&bytes), [258]);
}

#[test]
fn bad_files_are_refused() {
    for bytes in [
        Bytes::new(),
        Bytes::from_static(b"\x93NUMPY\x09\0\0\0"),
        Bytes::from_static(b"\x93NUMPY\x01\0\xff\xff{}"),
        file("'<f4'", "False", "(2,)", &[0; 4]),
        file("'<f4'", "False", "(1152921504606846976, 1152921504606846976)", &[]),
        file("'<U0'", "False", "(1152921504606846976,)", &[]),
        file("'<f4'", "False", "(-1,)", &[0; 4]),
        file("'|O8'", "False", "(1,)", &[0; 8]),
        file("[('a', '<f4')]", "False", "(1,)", &[0; 4]),
        file("'<U1'", "False", "(1,)", &[255; 4]),
        file("'|V2'", "False", "(1,)", &[0; 2]),
    ] {
        assert!(parse(&bytes, None).is_err(), "{bytes:?}");
    }
}
