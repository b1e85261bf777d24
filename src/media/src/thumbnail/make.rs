//! From a file to a thumbnail, on the calling thread. What a file is, its first bytes say; nobody else is believed.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use image::codecs::gif::{GifDecoder, GifEncoder, Repeat};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, Frame, Frames, ImageDecoder, ImageError, ImageFormat,
    ImageReader,
};
use tokio::time::Instant;

use super::form::plan;
use super::{Animation, ThumbnailSize};

/// Frames of an animation that are kept.
const FRAMES_MAX: usize = 100;
/// Bytes that a decoder may take for a pixel, its own needs included.
const BYTES_PER_PIXEL_MAX: u64 = 8;
/// Quality of JPEG thumbnails, of 100.
const JPEG_QUALITY: u8 = 82;
/// Speed of GIF encoding, of 30: higher is quicker and worse.
const GIF_SPEED: i32 = 20;

/// How much a file may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Pixels of all frames together.
    pub(crate) pixels_max: u64,
    /// When to give up.
    pub(crate) until: Instant,
}

/// A thumbnail.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: &'static str,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum MakeError {
    /// It is no image that can be read.
    NotAnImage,
    /// It would take too much memory or time.
    TooLarge,
    /// There are too many others.
    Busy,
    /// The file cannot be read.
    Read(Box<crate::Error>),
}

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    pub(crate) content_type: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What the first bytes of an image say, without decoding it.
pub(crate) fn inspect(file: &[u8]) -> Option<ImageInfo> {
    let format = format(file)?;
    let reader = ImageReader::with_format(Cursor::new(file), format);
    let (width, height) = reader.into_dimensions().ok()?;
    Some(ImageInfo {
        content_type: format.to_mime_type(),
        width,
        height,
    })
}

/// The formats that are decoded, by their magic numbers.
fn format(file: &[u8]) -> Option<ImageFormat> {
    let format = image::guess_format(file).ok()?;
    let is_ours = matches!(
        format,
        ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Gif | ImageFormat::WebP
    );
    is_ours.then_some(format)
}

/// Makes a thumbnail.
pub(crate) fn make(file: &[u8], size: ThumbnailSize, limits: Limits) -> Result<Made, MakeError> {
    let format = format(file).ok_or(MakeError::NotAnImage)?;
    decode(file, format, size, limits).map_err(|error| match Instant::now() >= limits.until {
        true => MakeError::TooLarge,
        false => error,
    })
}

fn decode(
    file: &[u8],
    format: ImageFormat,
    size: ThumbnailSize,
    limits: Limits,
) -> Result<Made, MakeError> {
    let input = Timed {
        inner: Cursor::new(file),
        until: limits.until,
    };
    match (size.animation, format) {
        (Animation::Moving, ImageFormat::Gif) => {
            let decoder = limited(GifDecoder::new(input)?, limits)?;
            moving(decoder.into_frames(), size, limits)
        }
        (Animation::Moving, ImageFormat::WebP) => {
            let decoder = limited(WebPDecoder::new(input)?, limits)?;
            match decoder.has_animation() {
                true => moving(decoder.into_frames(), size, limits),
                false => still(decoder, size),
            }
        }
        (Animation::Moving, ImageFormat::Png) => {
            let decoder = limited(PngDecoder::new(input)?, limits)?;
            match decoder.is_apng()? {
                true => moving(decoder.apng()?.into_frames(), size, limits),
                false => still(decoder, size),
            }
        }
        _ => {
            let mut reader = ImageReader::with_format(input, format);
            reader.limits(allocations(limits));
            still(limited(reader.into_decoder()?, limits)?, size)
        }
    }
}

fn allocations(limits: Limits) -> image::Limits {
    let mut allocations = image::Limits::default();
    allocations.max_alloc = Some(limits.pixels_max.saturating_mul(BYTES_PER_PIXEL_MAX));
    allocations
}

/// A decoder that has been told its limits, if its image is within them.
fn limited<D: ImageDecoder>(mut decoder: D, limits: Limits) -> Result<D, MakeError> {
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.pixels_max {
        return Err(MakeError::TooLarge);
    }
    decoder.set_limits(allocations(limits))?;
    Ok(decoder)
}

fn still<D: ImageDecoder>(mut decoder: D, size: ThumbnailSize) -> Result<Made, MakeError> {
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let image = shrink(image, size);
    let mut bytes = Vec::new();
    let content_type = match image.color().has_alpha() {
        true => {
            let image = DynamicImage::ImageRgba8(image.into_rgba8());
            image.write_with_encoder(PngEncoder::new(&mut bytes))?;
            "image/png"
        }
        false => {
            let image = DynamicImage::ImageRgb8(image.into_rgb8());
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))?;
            "image/jpeg"
        }
    };
    Ok(Made {
        bytes,
        content_type,
    })
}

fn shrink(image: DynamicImage, size: ThumbnailSize) -> DynamicImage {
    let plan = plan(image.width(), image.height(), size);
    let (left, top, width, height) = plan.part;
    let image = match (width, height) == (image.width(), image.height()) {
        true => image,
        false => image.crop_imm(left, top, width, height),
    };
    match plan.to == (width, height) {
        true => image,
        false => image.resize_exact(plan.to.0, plan.to.1, FilterType::Triangle),
    }
}

/// All frames, made smaller one after the other.
fn moving(frames: Frames<'_>, size: ThumbnailSize, limits: Limits) -> Result<Made, MakeError> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
    encoder.set_repeat(Repeat::Infinite)?;
    let mut pixels = 0_u64;
    for frame in frames.take(FRAMES_MAX) {
        let frame = frame?;
        let (width, height) = frame.buffer().dimensions();
        pixels += u64::from(width) * u64::from(height);
        if pixels > limits.pixels_max || Instant::now() >= limits.until {
            return Err(MakeError::TooLarge);
        }
        let delay = frame.delay();
        let image = shrink(DynamicImage::ImageRgba8(frame.into_buffer()), size);
        encoder.encode_frame(Frame::from_parts(image.into_rgba8(), 0, 0, delay))?;
    }
    drop(encoder);
    match pixels {
        0 => Err(MakeError::NotAnImage),
        _ => Ok(Made {
            bytes,
            content_type: "image/gif",
        }),
    }
}

impl From<ImageError> for MakeError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(_) => Self::TooLarge,
            _ => Self::NotAnImage,
        }
    }
}

/// Input that ends with an error when time is up: decoders have no other way to be stopped.
struct Timed<'a> {
    inner: Cursor<&'a [u8]>,
    until: Instant,
}

impl Timed<'_> {
    fn check(&self) -> io::Result<()> {
        match Instant::now() >= self.until {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl io::BufRead for Timed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.inner.consume(count);
    }
}

impl Seek for Timed<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.check()?;
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests;
