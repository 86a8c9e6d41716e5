//! Images in files: ImageDecoder.

use std::io::Cursor;

use byoc_graph::Tensor;
use hayro_jpeg2000::{ColorSpace, DecodeSettings, DecoderContext};
use image::{DynamicImage, GrayImage, ImageReader, Limits, RgbImage};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] = &[onnx("ImageDecoder", 20, decode)];

/// Bytes that a decoder may allocate, and pixels along a side: a small file may claim to be a large image.
const MAX_BYTES: u64 = 1 << 30;
const MAX_SIDE: u32 = 1 << 15;

/// What begins a JPEG 2000 file, and what a bare stream of its code.
const JPEG2000: [&[u8]; 2] = [b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51"];

fn decode(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    ensure!(tensor.dtype() == byoc_graph::DType::U8, "an image of {}", tensor.dtype());
    let bytes = tensor.bytes();
    let image = match JPEG2000.iter().any(|magic| bytes.starts_with(magic)) {
        true => jpeg2000(bytes)?,
        false => common(bytes)?,
    };
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (channels, pixels) = match call.text("pixel_format")? {
        "RGB" => (3, image.into_rgb8().into_raw()),
        "BGR" => (3, reversed(image.into_rgb8().into_raw())),
        "Grayscale" => (1, luma(&image)),
        other => return Err(Fault::Attribute { name: "pixel_format".into(), why: format!("is `{other}`") }),
    };
    Ok(vec![Tensor::from_vec(&[height, width, channels], pixels)?.into()])
}

/// BMP, JPEG, PNG, PNM, TIFF and WebP.
fn common(bytes: &[u8]) -> Result<DynamicImage, Fault> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| invalid!("the image cannot be read: {e}"))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    reader.decode().map_err(|e| invalid!("the image cannot be decoded: {e}"))
}

fn jpeg2000(bytes: &[u8]) -> Result<DynamicImage, Fault> {
    let undecodable = |e| invalid!("the JPEG 2000 image cannot be decoded: {e}");
    let image = hayro_jpeg2000::Image::new(bytes, &DecodeSettings::default()).map_err(undecodable)?;
    let (width, height) = (image.width(), image.height());
    let bytes_needed = u64::from(width) * u64::from(height) * 16;
    ensure!(
        width <= MAX_SIDE && height <= MAX_SIDE && bytes_needed <= MAX_BYTES,
        "a JPEG 2000 image of {width} by {height} pixels is too large"
    );
    let (alpha, gray) = (image.has_alpha(), matches!(image.color_space(), ColorSpace::Gray));
    let mut context = DecoderContext::default();
    let pixels = image.decode(&mut context).map_err(undecodable)?.data_u8();
    let decoded = match (gray, alpha) {
        (true, false) => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        (false, false) => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
        (false, true) => image::RgbaImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgba8),
        (true, true) => image::GrayAlphaImage::from_raw(width, height, pixels).map(DynamicImage::ImageLumaA8),
    };
    decoded.ok_or_else(|| Fault::Unsupported("a JPEG 2000 image with more than three colours".into()))
}

/// Blue first.
fn reversed(mut rgb: Vec<u8>) -> Vec<u8> {
    rgb.chunks_exact_mut(3).for_each(<[u8]>::reverse);
    rgb
}

/// Brightness by the weights of ITU-R BT.601, rounded, in 16 bits of fraction.
fn luma(image: &DynamicImage) -> Vec<u8> {
    let weigh = |pixel: &[u8]| {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
    };
    match image {
        DynamicImage::ImageLuma8(gray) => gray.as_raw().clone(),
        other => other.to_rgb8().as_raw().chunks_exact(3).map(weigh).collect(),
    }
}
