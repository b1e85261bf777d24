use std::time::Duration;

use image::{Delay, Rgb, RgbImage, Rgba};

use super::*;
use crate::thumbnail::Fit;

fn limits() -> Limits {
    Limits {
        pixels_max: 1 << 20,
        until: Instant::now() + Duration::from_secs(60),
    }
}

fn size(animation: Animation) -> ThumbnailSize {
    ThumbnailSize {
        width: 32,
        height: 32,
        fit: Fit::Crop,
        animation,
    }
}

fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).expect("encoded");
    file.into_inner()
}

fn rgb(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_pixel(width, height, Rgb([200, 10, 10])).into()
}

fn gif(frames: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new(&mut file);
    for shade in 0..frames {
        let shade = u8::try_from(shade % 256).expect("a byte");
        let image = RgbaImage::from_pixel(64, 48, Rgba([shade, 0, 255, 255]));
        let delay = Delay::from_numer_denom_ms(100, 1);
        let frame = Frame::from_parts(image, 0, 0, delay);
        encoder.encode_frame(frame).expect("encoded");
    }
    drop(encoder);
    file
}

/// A thumbnail that is not the file itself.
fn made(file: &[u8], size: ThumbnailSize) -> Made {
    match make(file, size, limits()).expect("made") {
        Thumbnail::Made(made) => made,
        Thumbnail::Original(kind) => panic!("{kind}: the file itself"),
    }
}

fn frames(file: &[u8]) -> usize {
    let decoder = GifDecoder::new(Cursor::new(file)).expect("a GIF");
    decoder.into_frames().count()
}

#[test]
fn every_format_becomes_a_thumbnail() {
    let transparent = RgbaImage::from_pixel(100, 80, Rgba([0, 0, 0, 100]));
    let opaque = RgbaImage::from_pixel(100, 80, Rgba([0, 0, 0, 255]));
    for (file, content_type) in [
        (encoded(rgb(100, 80), ImageFormat::Png), "image/png"),
        (encoded(rgb(100, 80), ImageFormat::Jpeg), "image/jpeg"),
        (encoded(rgb(100, 80), ImageFormat::WebP), "image/jpeg"),
        (encoded(transparent.into(), ImageFormat::Png), "image/png"),
        (gif(3), "image/png"),
        // Every point says that nothing is seen through it.
        (encoded(opaque.into(), ImageFormat::WebP), "image/jpeg"),
    ] {
        let made = made(&file, size(Animation::Still));
        assert_eq!(made.content_type, content_type);
        let info = inspect(&made.bytes).expect("an image");
        assert_eq!((info.width, info.height), (32, 32));
    }
}

#[test]
fn an_animation_moves_if_it_may() {
    let still = made(&gif(3), size(Animation::Still));
    assert_eq!(still.content_type, "image/png");
    let moving = made(&gif(3), size(Animation::Moving));
    assert_eq!(moving.content_type, "image/gif");
    assert_eq!(frames(&moving.bytes), 3);
    assert_eq!(inspect(&moving.bytes).expect("an image").width, 32);
    let plain = encoded(rgb(100, 80), ImageFormat::Png);
    let plain = made(&plain, size(Animation::Moving));
    assert_eq!(plain.content_type, "image/png");
}

#[test]
fn the_file_itself_is_served_where_it_would_do() {
    let scale = |width, height| ThumbnailSize {
        width,
        height,
        fit: Fit::Scale,
        animation: Animation::Still,
    };
    let moving = |size| ThumbnailSize {
        animation: Animation::Moving,
        ..size
    };
    let transparent = RgbaImage::from_pixel(30, 20, Rgba([0, 0, 0, 100]));
    for (file, size, kind) in [
        (
            encoded(rgb(30, 20), ImageFormat::Png),
            scale(320, 240),
            Some("image/png"),
        ),
        (
            encoded(rgb(30, 20), ImageFormat::Jpeg),
            scale(320, 240),
            Some("image/jpeg"),
        ),
        (
            encoded(rgb(30, 20), ImageFormat::WebP),
            scale(320, 240),
            Some("image/webp"),
        ),
        (
            encoded(transparent.into(), ImageFormat::Png),
            moving(scale(320, 240)),
            Some("image/png"),
        ),
        (gif(3), moving(scale(320, 240)), Some("image/gif")),
        // A picture that has to stand still may not move.
        (gif(3), scale(320, 240), None),
        // A part is not the whole.
        (
            encoded(rgb(30, 20), ImageFormat::Png),
            self::size(Animation::Still),
            None,
        ),
        // Nor is the beginning of many frames.
        (gif(150), moving(scale(320, 240)), None),
    ] {
        let found = match make(&file, size, limits()).expect("made") {
            Thumbnail::Original(kind) => Some(kind),
            Thumbnail::Made(_) => None,
        };
        assert_eq!(found, kind, "{size:?}");
    }
}

/// Bytes without a pattern, as in a photo.
fn noisy(width: u32, height: u32) -> DynamicImage {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    RgbImage::from_fn(width, height, |_, _| Rgb([next(), next(), next()])).into()
}

#[test]
fn a_photo_in_a_png_becomes_a_jpeg() {
    let large = ThumbnailSize {
        width: 640,
        height: 480,
        fit: Fit::Scale,
        animation: Animation::Still,
    };
    let photo = encoded(noisy(700, 500), ImageFormat::Png);
    assert_eq!(made(&photo, large).content_type, "image/jpeg");
    let drawing = encoded(noisy(100, 80), ImageFormat::Png);
    assert_eq!(
        made(&drawing, size(Animation::Still)).content_type,
        "image/png"
    );
}

#[test]
fn a_file_that_is_smaller_than_its_thumbnail_is_served_in_its_place() {
    let large = ThumbnailSize {
        width: 640,
        height: 480,
        fit: Fit::Scale,
        animation: Animation::Still,
    };
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, 1);
    noisy(700, 500)
        .write_with_encoder(encoder)
        .expect("encoded");
    let found = make(&file, large, limits()).expect("made");
    assert!(
        matches!(found, Thumbnail::Original("image/jpeg")),
        "{found:?}"
    );
}

#[test]
fn s17_a_pixel_bomb_is_not_decoded() {
    // 1 MiB of pixels are allowed; these files are some kilobytes.
    let bomb = encoded(rgb(1_100, 1_000), ImageFormat::Png);
    assert!(bomb.len() < 100_000);
    for animation in [Animation::Still, Animation::Moving] {
        let made = make(&bomb, size(animation), limits());
        assert!(matches!(made, Err(MakeError::TooLarge)), "{made:?}");
    }
    // A head that promises 60,000 by 60,000 pixels, and nothing behind it.
    let mut liar = encoded(rgb(1, 1), ImageFormat::Gif);
    liar[6..10].copy_from_slice(&[0x60, 0xea, 0x60, 0xea]);
    let made = make(&liar, size(Animation::Still), limits());
    assert!(made.is_err());
}

#[test]
fn s17_many_small_frames_are_a_bomb_too() {
    let few = Limits {
        pixels_max: 64 * 48 * 5,
        ..limits()
    };
    assert!(make(&gif(5), size(Animation::Moving), few).is_ok());
    let more = make(&gif(6), size(Animation::Moving), few);
    assert!(matches!(more, Err(MakeError::TooLarge)), "{more:?}");
    let many = made(&gif(150), size(Animation::Moving));
    assert_eq!(frames(&many.bytes), FRAMES_MAX);
}

#[test]
fn s17_a_decoder_is_stopped_when_time_is_up() {
    let late = Limits {
        until: Instant::now(),
        ..limits()
    };
    for file in [encoded(rgb(100, 80), ImageFormat::Png), gif(3)] {
        let made = make(&file, size(Animation::Moving), late);
        assert!(matches!(made, Err(MakeError::TooLarge)), "{made:?}");
    }
}

#[test]
fn s17_what_is_no_image_is_refused_whatever_it_is_called() {
    let png = encoded(rgb(100, 80), ImageFormat::Png);
    for file in [
        b"".as_slice(),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html><script>alert(1)</script></html>",
        b"%PDF-1.7",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        &png[..png.len() / 2],
        // Formats that the library knows and we do not decode.
        b"BM\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"II*\0\x08\0\0\0",
    ] {
        let made = make(file, size(Animation::Still), limits());
        assert!(matches!(made, Err(MakeError::NotAnImage)), "{made:?}");
    }
}
