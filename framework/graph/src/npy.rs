//! Tensors as `.npy` files (NumPy's format, versions 1 to 3).
//!
//! NumPy has no type for bfloat16 and the 8-bit floats: their bits are written as plain bytes (`|V2`,
//! `|V1`) and read as what the caller expects. Elements below a byte are written one a byte.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use thiserror::Error;

use crate::{DType, Tensor, TensorError, element_count, files, packed};

const MAGIC: &[u8] = b"\x93NUMPY";

#[derive(Debug, Error)]
pub enum NpyError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: not a .npy file: {what}", path.display())]
    Format { path: PathBuf, what: String },
    #[error("{}: {source}", path.display())]
    Tensor { path: PathBuf, source: TensorError },
}

/// Reads an array. Untyped bytes become elements of type `expected`, and bytes are packed where elements
/// below a byte are expected.
pub fn read(path: impl AsRef<Path>, expected: Option<DType>) -> Result<Tensor, NpyError> {
    let path = path.as_ref();
    let bytes = files::map(path).map_err(|source| NpyError::Io { path: path.to_owned(), source })?;
    parse(&bytes, expected).map_err(|error| match error {
        Failure::Format(what) => NpyError::Format { path: path.to_owned(), what },
        Failure::Tensor(source) => NpyError::Tensor { path: path.to_owned(), source },
    })
}

/// Writes an array, all of it or nothing.
pub fn write(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), NpyError> {
    let path = path.as_ref();
    files::write(path, &to_bytes(tensor)).map_err(|source| NpyError::Io { path: path.to_owned(), source })
}

enum Failure {
    Format(String),
    Tensor(TensorError),
}

impl From<TensorError> for Failure {
    fn from(error: TensorError) -> Failure {
        Failure::Tensor(error)
    }
}

fn format<T>(what: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Format(what.into()))
}

fn parse(bytes: &Bytes, expected: Option<DType>) -> Result<Tensor, Failure> {
    if bytes.len() < 10 || !bytes.starts_with(MAGIC) {
        return format("it does not begin as one");
    }
    let (start, len): (usize, usize) = match bytes[6] {
        1 => (10, usize::from(u16::from_le_bytes([bytes[8], bytes[9]]))),
        2 | 3 if bytes.len() >= 12 => {
            (12, u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize)
        }
        version => return format(format!("version {version} is not known")),
    };
    let Some(header) = bytes.get(start..start.saturating_add(len)) else {
        return format("its header is cut short");
    };
    let header = Header::parse(&String::from_utf8_lossy(header))?;
    header.tensor(bytes.slice(start + len..), expected)
}

/// The dictionary in front of the data.
struct Header {
    /// As NumPy writes it: byte order, kind, bytes an element.
    big_endian: bool,
    kind: char,
    size: usize,
    fortran_order: bool,
    dims: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Result<Header, Failure> {
        let entry = |key: &str| {
            let at = text.find(&format!("'{key}'"))?;
            let value = text[at + key.len() + 2..].trim_start();
            value.strip_prefix(':').map(str::trim_start)
        };
        let descr = entry("descr").and_then(|v| v.strip_prefix('\'')).and_then(|v| v.split_once('\''));
        let Some((descr, _)) = descr else { return format("its elements are not of one plain type") };
        let mut chars = descr.chars();
        let (order, kind) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
        let size =
            chars.as_str().parse().or_else(|_| format(format!("element type `{descr}` is not known")))?;
        let fortran_order = entry("fortran_order").is_some_and(|value| value.starts_with("True"));
        let shape = entry("shape").and_then(|v| v.strip_prefix('(')).and_then(|v| v.split_once(')'));
        let Some((shape, _)) = shape else { return format("it has no shape") };
        let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        let dims = dims.map(|dim| dim.parse().or_else(|_| format(format!("`{dim}` is not a dimension"))));
        Ok(Header {
            big_endian: order == '>',
            kind,
            size,
            fortran_order,
            dims: dims.collect::<Result<_, _>>()?,
        })
    }

    fn dtype(&self, expected: Option<DType>) -> Option<DType> {
        use DType::*;
        Some(match (self.kind, self.size) {
            ('b', 1) => Bool,
            ('i', 1) => I8,
            ('i', 2) => I16,
            ('i', 4) => I32,
            ('i', 8) => I64,
            ('u', 1) => U8,
            ('u', 2) => U16,
            ('u', 4) => U32,
            ('u', 8) => U64,
            ('f', 2) => F16,
            ('f', 4) => F32,
            ('f', 8) => F64,
            ('c', 8) => C64,
            ('c', 16) => C128,
            ('V', 1) if expected.is_some_and(is_sub_byte) => U8,
            ('V', size) => expected.filter(|dtype| dtype.bits() == size * 8)?,
            _ => return None,
        })
    }

    fn tensor(&self, data: Bytes, expected: Option<DType>) -> Result<Tensor, Failure> {
        if matches!(self.kind, 'U' | 'S') {
            return self.strings(&data);
        }
        let Some(dtype) = self.dtype(expected) else {
            return format(format!("elements of kind `{}{}` have no ONNX type", self.kind, self.size));
        };
        let mut data = self.data(data, dtype)?;
        if self.big_endian {
            // Of a complex number each part has its own byte order.
            let part = if self.kind == 'c' { self.size / 2 } else { self.size };
            data = data.chunks_exact(part).flat_map(|part| part.iter().rev().copied()).collect();
        }
        if self.fortran_order && self.dims.len() > 1 && !data.is_empty() {
            data = from_column_major(&data, &self.dims, self.size);
        }
        match expected {
            Some(small) if is_sub_byte(small) && self.size == 1 => {
                Ok(Tensor::from_bytes(small, &self.dims, packed::pack(small, &data).into())?)
            }
            _ => Ok(Tensor::from_bytes(dtype, &self.dims, data)?),
        }
    }

    /// The bytes of the elements; what may follow them in the file is left away.
    fn data(&self, data: Bytes, dtype: DType) -> Result<Bytes, Failure> {
        let dims = || self.dims.clone();
        let count = element_count(&self.dims).ok_or_else(|| TensorError::TooLarge { dtype, dims: dims() })?;
        let expected =
            count.checked_mul(self.size).ok_or_else(|| TensorError::TooLarge { dtype, dims: dims() })?;
        if data.len() < expected {
            let got = data.len();
            return Err(TensorError::Length { dtype, dims: dims(), expected, got }.into());
        }
        Ok(data.slice(..expected))
    }

    /// Text of fixed width, padded with zeros: four bytes a character, or one.
    fn strings(&self, data: &Bytes) -> Result<Tensor, Failure> {
        let width = if self.kind == 'U' { 4 } else { 1 };
        let item = self.size.checked_mul(width);
        let count = element_count(&self.dims);
        let total = count.and_then(|count| item?.checked_mul(count)).filter(|&total| total <= data.len());
        let (Some(item), Some(count), Some(total)) = (item, count, total) else {
            return format("its data is cut short");
        };
        if item == 0 {
            // Without data to bound their number, empty texts are taken only as far as a file could hold them.
            return match count <= data.len() {
                true => Ok(Tensor::from_strings(&self.dims, vec![Bytes::new(); count])?),
                false => format("its texts have no width"),
            };
        }
        let big_endian = self.big_endian;
        let text = |item: &[u8]| -> Option<Bytes> {
            if width == 1 {
                let end = item.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
                return Some(Bytes::copy_from_slice(&item[..end]));
            }
            let code = |c: &[u8]| {
                let c = [c[0], c[1], c[2], c[3]];
                if big_endian { u32::from_be_bytes(c) } else { u32::from_le_bytes(c) }
            };
            let text: Option<String> = item.chunks_exact(4).map(|c| char::from_u32(code(c))).collect();
            Some(Bytes::from(text?.trim_end_matches('\0').to_owned()))
        };
        let items: Option<Vec<Bytes>> = data[..total].chunks_exact(item).map(text).collect();
        match items {
            Some(items) => Ok(Tensor::from_strings(&self.dims, items)?),
            None => format("its texts are not Unicode"),
        }
    }
}

fn is_sub_byte(dtype: DType) -> bool {
    (1..8).contains(&dtype.bits())
}

/// Puts the elements of a column-major array into row-major order.
fn from_column_major(data: &[u8], dims: &[usize], size: usize) -> Bytes {
    let mut strides = Vec::with_capacity(dims.len());
    let mut stride = 1;
    for &dim in dims {
        strides.push(stride);
        stride *= dim;
    }
    let mut index = vec![0usize; dims.len()];
    let mut out = Vec::with_capacity(data.len());
    for _ in 0..data.len() / size {
        let at: usize = index.iter().zip(&strides).map(|(i, stride)| i * stride).sum();
        out.extend_from_slice(&data[at * size..][..size]);
        for axis in (0..dims.len()).rev() {
            index[axis] += 1;
            if index[axis] < dims[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out.into()
}

fn to_bytes(tensor: &Tensor) -> Vec<u8> {
    let (descr, data) = content(tensor);
    let dims: Vec<String> = tensor.dims().iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // The data begins at a multiple of 64, after a line end.
    let unpadded = MAGIC.len() + 2 + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let mut out = Vec::with_capacity(unpadded + 64 + data.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[2, 0]);
    out.extend_from_slice(&(header.len() as u32).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&data);
    out
}

fn content(tensor: &Tensor) -> (String, Bytes) {
    use DType::*;
    if let Some(strings) = tensor.strings() {
        let texts: Vec<_> = strings.iter().map(|s| String::from_utf8_lossy(s)).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        let padded = |text: &std::borrow::Cow<'_, str>| {
            let codes = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
            codes.flat_map(u32::to_le_bytes).collect::<Vec<u8>>()
        };
        return (format!("<U{width}"), texts.iter().flat_map(padded).collect());
    }
    let dtype = tensor.dtype();
    let descr = match dtype {
        Bool => "|b1".to_owned(),
        I8 | I4 | I2 => "|i1".to_owned(),
        U8 | U4 | U2 => "|u1".to_owned(),
        F16 | F32 | F64 => format!("<f{}", dtype.bits() / 8),
        C64 | C128 => format!("<c{}", dtype.bits() / 8),
        I16 | I32 | I64 => format!("<i{}", dtype.bits() / 8),
        U16 | U32 | U64 => format!("<u{}", dtype.bits() / 8),
        _ => format!("|V{}", dtype.bits().div_ceil(8)),
    };
    let data = match (tensor.to_i64s(), dtype.bits()) {
        (Some(elements), ..8) => elements.into_iter().map(|x| x as u8).collect(),
        (None, 1..8) => packed::unpack(tensor).into(),
        _ => tensor.bytes().clone(),
    };
    (descr, data)
}

#[cfg(test)]
mod tests;
