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
    ImageReader, RgbaImage,
};
use tokio::time::Instant;

use super::form::plan;
use super::{Animation, ThumbnailSize};

/// Frames of an animation that are kept.
const FRAMES_MAX: usize = 100;
/// Bytes that a decoder may take for a pixel, its own needs included.
const BYTES_PER_PIXEL_MAX: u64 = 8;
/// Largest PNG of a picture through which nothing is seen, in bytes: it is a photo, of which a JPEG is a tenth.
const PNG_BYTES_MAX: usize = 256 << 10;
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
    origin: Origin,
}

/// What a thumbnail shows of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The same, pixel by pixel: the file is no larger than asked for.
    Same,
    /// All of it, made smaller: the file would do, too.
    Whole,
    /// Not all of it, or turned: a part, one frame of several, another orientation.
    Part,
}

/// What is served as the thumbnail of a file.
#[derive(Debug)]
pub(crate) enum Thumbnail {
    /// This.
    Made(Made),
    /// The file itself, an image of this type: it is no larger than asked for, or smaller than what would be made of it.
    Original(&'static str),
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

/// Makes a thumbnail, unless the file is one.
pub(crate) fn make(
    file: &[u8],
    size: ThumbnailSize,
    limits: Limits,
) -> Result<Thumbnail, MakeError> {
    let format = format(file).ok_or(MakeError::NotAnImage)?;
    let made = decode(file, format, size, limits);
    let made = made.map_err(|error| match Instant::now() >= limits.until {
        true => MakeError::TooLarge,
        false => error,
    })?;
    // The whole file was decoded: what is served as an image is one.
    let is_enough = match made.origin {
        Origin::Same => true,
        Origin::Whole => made.bytes.len() >= file.len(),
        Origin::Part => false,
    };
    Ok(match is_enough {
        true => Thumbnail::Original(format.to_mime_type()),
        false => Thumbnail::Made(made),
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
    let source = Source {
        format,
        bytes: file.len(),
    };
    match (size.animation, format) {
        (Animation::Moving, ImageFormat::Gif) => {
            let decoder = limited(GifDecoder::new(input)?, limits)?;
            moving(decoder.into_frames(), size, limits)
        }
        (Animation::Still, ImageFormat::Gif) => {
            let decoder = limited(GifDecoder::new(input)?, limits)?;
            // Whether it has more than one frame is not known.
            still(decoder, source, size, Shown::First)
        }
        (animation, ImageFormat::WebP) => {
            let decoder = limited(WebPDecoder::new(input)?, limits)?;
            match (decoder.has_animation(), animation) {
                (true, Animation::Moving) => moving(decoder.into_frames(), size, limits),
                (true, Animation::Still) => still(decoder, source, size, Shown::First),
                (false, _) => still(decoder, source, size, Shown::Only),
            }
        }
        (animation, ImageFormat::Png) => {
            let decoder = limited(PngDecoder::new(input)?, limits)?;
            match (decoder.is_apng()?, animation) {
                (true, Animation::Moving) => moving(decoder.apng()?.into_frames(), size, limits),
                (true, Animation::Still) => still(decoder, source, size, Shown::First),
                (false, _) => still(decoder, source, size, Shown::Only),
            }
        }
        _ => {
            let mut reader = ImageReader::with_format(input, format);
            reader.limits(allocations(limits));
            let decoder = limited(reader.into_decoder()?, limits)?;
            still(decoder, source, size, Shown::Only)
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

/// What a picture comes from.
#[derive(Clone, Copy, Debug)]
struct Source {
    format: ImageFormat,
    /// Length of the file.
    bytes: usize,
}

/// Whether a picture is all that its file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// It is.
    Only,
    /// There may be others.
    First,
}

fn still<D: ImageDecoder>(
    mut decoder: D,
    source: Source,
    size: ThumbnailSize,
    shown: Shown,
) -> Result<Made, MakeError> {
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    let (image, origin) = shrink(image, size);
    let (bytes, content_type) = encode(image, source)?;
    let origin = match (shown, orientation) {
        (Shown::Only, Orientation::NoTransforms) => origin,
        _ => Origin::Part,
    };
    Ok(Made {
        bytes,
        content_type,
        origin,
    })
}

/// As PNG what something is seen through, and drawings and pictures of screens, where JPEG would blur letters; as JPEG all else.
fn encode(image: DynamicImage, source: Source) -> Result<(Vec<u8>, &'static str), MakeError> {
    let translucent = translucent(&image);
    let is_drawn = matches!(source.format, ImageFormat::Png | ImageFormat::Gif);
    let image = image.into_rgb8();
    let mut bytes = Vec::new();
    if let Some(translucent) = translucent {
        translucent.write_with_encoder(PngEncoder::new(&mut bytes))?;
        return Ok((bytes, "image/png"));
    }
    if is_drawn {
        image.write_with_encoder(PngEncoder::new(&mut bytes))?;
        if bytes.len() <= PNG_BYTES_MAX.min(source.bytes) {
            return Ok((bytes, "image/png"));
        }
        // A photo, after all.
        bytes.clear();
    }
    image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))?;
    Ok((bytes, "image/jpeg"))
}

/// A picture through which something is seen; many have a channel for that in which nothing is said.
fn translucent(image: &DynamicImage) -> Option<RgbaImage> {
    let image = image.color().has_alpha().then(|| image.to_rgba8())?;
    let is_seen_through = image.pixels().any(|pixel| pixel.0[3] != u8::MAX);
    is_seen_through.then_some(image)
}

fn shrink(image: DynamicImage, size: ThumbnailSize) -> (DynamicImage, Origin) {
    let plan = plan(image.width(), image.height(), size);
    let (left, top, width, height) = plan.part;
    let is_whole = (width, height) == (image.width(), image.height());
    let is_same = plan.to == (width, height);
    let image = match is_whole {
        true => image,
        false => image.crop_imm(left, top, width, height),
    };
    let image = match is_same {
        true => image,
        false => image.resize_exact(plan.to.0, plan.to.1, FilterType::Triangle),
    };
    let origin = match (is_whole, is_same) {
        (true, true) => Origin::Same,
        (true, false) => Origin::Whole,
        (false, _) => Origin::Part,
    };
    (image, origin)
}

/// All frames, made smaller one after the other.
fn moving(frames: Frames<'_>, size: ThumbnailSize, limits: Limits) -> Result<Made, MakeError> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, GIF_SPEED);
    encoder.set_repeat(Repeat::Infinite)?;
    let mut pixels = 0_u64;
    let mut origin = None;
    let mut count = 0;
    for frame in frames {
        let frame = frame?;
        count += 1;
        if count > FRAMES_MAX {
            origin = Some(Origin::Part);
            break;
        }
        let (width, height) = frame.buffer().dimensions();
        pixels += u64::from(width) * u64::from(height);
        if pixels > limits.pixels_max || Instant::now() >= limits.until {
            return Err(MakeError::TooLarge);
        }
        let delay = frame.delay();
        let (image, shows) = shrink(DynamicImage::ImageRgba8(frame.into_buffer()), size);
        origin = origin.or(Some(shows));
        encoder.encode_frame(Frame::from_parts(image.into_rgba8(), 0, 0, delay))?;
    }
    drop(encoder);
    Ok(Made {
        bytes,
        content_type: "image/gif",
        origin: origin.ok_or(MakeError::NotAnImage)?,
    })
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
