use std::time::Duration;

use image::{Delay, Rgb, RgbImage, Rgba, RgbaImage};

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

fn frames(file: &[u8]) -> usize {
    let decoder = GifDecoder::new(Cursor::new(file)).expect("a GIF");
    decoder.into_frames().count()
}

#[test]
fn every_format_becomes_a_thumbnail() {
    let transparent = RgbaImage::from_pixel(100, 80, Rgba([0, 0, 0, 100]));
    for (file, content_type) in [
        (encoded(rgb(100, 80), ImageFormat::Png), "image/jpeg"),
        (encoded(rgb(100, 80), ImageFormat::Jpeg), "image/jpeg"),
        (encoded(rgb(100, 80), ImageFormat::WebP), "image/jpeg"),
        (encoded(transparent.into(), ImageFormat::Png), "image/png"),
        (gif(3), "image/png"),
    ] {
        let made = make(&file, size(Animation::Still), limits()).expect("made");
        assert_eq!(made.content_type, content_type);
        let info = inspect(&made.bytes).expect("an image");
        assert_eq!((info.width, info.height), (32, 32));
    }
}

#[test]
fn an_animation_moves_if_it_may() {
    let still = make(&gif(3), size(Animation::Still), limits()).expect("made");
    assert_eq!(still.content_type, "image/png");
    let moving = make(&gif(3), size(Animation::Moving), limits()).expect("made");
    assert_eq!(moving.content_type, "image/gif");
    assert_eq!(frames(&moving.bytes), 3);
    assert_eq!(inspect(&moving.bytes).expect("an image").width, 32);
    let plain = encoded(rgb(100, 80), ImageFormat::Png);
    let plain = make(&plain, size(Animation::Moving), limits()).expect("made");
    assert_eq!(plain.content_type, "image/jpeg");
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
    let made = make(&gif(6), size(Animation::Moving), few);
    assert!(matches!(made, Err(MakeError::TooLarge)), "{made:?}");
    let many = make(&gif(150), size(Animation::Moving), limits()).expect("made");
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
