//! Which thumbnails there are.

use ruma::UInt;
use ruma::media::Method;

/// How an image is made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// As wide and as high at least, the rest cut off.
    Crop,
    /// Within its shape.
    Scale,
}

/// Whether a thumbnail may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Animation {
    /// It must not.
    Still,
    /// It does if the image does.
    Moving,
}

/// What a client would like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThumbnailSize {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How.
    pub fit: Fit,
    /// Whether it may move.
    pub animation: Animation,
}

/// The sizes that there are (client-server API, "Thumbnails"): others are served with the next larger one, so that
/// nobody can have any number of them made.
const CROPS: [(u32, u32); 2] = [(32, 32), (96, 96)];
const SCALES: [(u32, u32); 3] = [(320, 240), (640, 480), (800, 600)];

impl ThumbnailSize {
    /// What a request asks for.
    pub fn asked(
        (width, height): (UInt, UInt),
        method: Option<&Method>,
        animated: Option<bool>,
    ) -> Self {
        let pixels = |length: UInt| u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            width: pixels(width),
            height: pixels(height),
            fit: match method {
                Some(Method::Crop) => Fit::Crop,
                _ => Fit::Scale,
            },
            animation: match animated {
                Some(true) => Animation::Moving,
                _ => Animation::Still,
            },
        }
    }

    /// The smallest size that there is and that is large enough; the largest for those that ask for more.
    pub(crate) fn standard(self) -> Self {
        let is_enough =
            |&(width, height): &(u32, u32)| width >= self.width && height >= self.height;
        let is_crop = self.fit == Fit::Crop;
        let crop = CROPS.into_iter().find(|size| is_crop && is_enough(size));
        let [.., largest] = SCALES;
        let scale = SCALES.into_iter().find(is_enough).unwrap_or(largest);
        let (width, height) = crop.unwrap_or(scale);
        Self {
            width,
            height,
            ..self
        }
    }

    /// As it is named in the store.
    pub(crate) fn form(self) -> String {
        let fit = match self.fit {
            Fit::Crop => "crop",
            Fit::Scale => "scale",
        };
        let animation = match self.animation {
            Animation::Still => "",
            Animation::Moving => " moving",
        };
        format!("{}x{} {fit}{animation}", self.width, self.height)
    }
}

/// What remains of an image of one size: the part that is taken, and what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Left edge, top edge, width and height of the part.
    pub(crate) part: (u32, u32, u32, u32),
    /// Width and height of the result: never larger than the part.
    pub(crate) to: (u32, u32),
}

/// How an image is made to fit, without ever being made larger.
pub(crate) fn plan(width: u32, height: u32, size: ThumbnailSize) -> Plan {
    let wanted = (size.width.max(1), size.height.max(1));
    match size.fit {
        Fit::Scale => Plan {
            part: (0, 0, width, height),
            to: covering((width, height), wanted),
        },
        Fit::Crop => {
            let (part_width, part_height) = middle((width, height), wanted);
            Plan {
                part: (
                    (width - part_width) / 2,
                    (height - part_height) / 2,
                    part_width,
                    part_height,
                ),
                to: covering((part_width, part_height), wanted),
            }
        }
    }
}

/// The smallest size of a shape with no side smaller than wanted: the client would have to enlarge it. Never larger than
/// the shape itself.
fn covering(shape: (u32, u32), wanted: (u32, u32)) -> (u32, u32) {
    if wanted.0 >= shape.0 || wanted.1 >= shape.1 {
        return shape;
    }
    let by_width = u64::from(wanted.0) * u64::from(shape.1);
    let by_height = u64::from(wanted.1) * u64::from(shape.0);
    match by_width >= by_height {
        true => (wanted.0, quotient(by_width, shape.0).max(wanted.1)),
        false => (quotient(by_height, shape.1).max(wanted.0), wanted.1),
    }
}

/// The largest part of the wanted shape.
fn middle(shape: (u32, u32), wanted: (u32, u32)) -> (u32, u32) {
    let by_width = u64::from(shape.0) * u64::from(wanted.1);
    let by_height = u64::from(shape.1) * u64::from(wanted.0);
    match by_width > by_height {
        true => (quotient(by_height, wanted.1).min(shape.0), shape.1),
        false => (shape.0, quotient(by_width, wanted.0).min(shape.1)),
    }
}

/// A quotient, rounded, at least 1.
fn quotient(dividend: u64, divisor: u32) -> u32 {
    let divisor = u64::from(divisor.max(1));
    let quotient = (dividend + divisor / 2) / divisor;
    u32::try_from(quotient.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32, fit: Fit) -> ThumbnailSize {
        ThumbnailSize {
            width,
            height,
            fit,
            animation: Animation::Still,
        }
    }

    #[test]
    fn any_size_becomes_one_that_there_is() {
        for ((width, height, fit), form) in [
            ((1, 1, Fit::Crop), "32x32 crop"),
            ((32, 33, Fit::Crop), "96x96 crop"),
            ((97, 1, Fit::Crop), "320x240 crop"),
            ((32, 32, Fit::Scale), "320x240 scale"),
            ((320, 241, Fit::Scale), "640x480 scale"),
            ((u32::MAX, 0, Fit::Scale), "800x600 scale"),
            ((4000, 4000, Fit::Crop), "800x600 crop"),
        ] {
            assert_eq!(size(width, height, fit).standard().form(), form);
        }
    }

    #[test]
    fn nothing_is_made_larger_nor_smaller_than_asked_for() {
        for (width, height) in [
            (1, 1),
            (100, 10),
            (800, 600),
            (801, 601),
            (10_000, 3),
            (3, 10_000),
            (4000, 3000),
        ] {
            for (to_width, to_height) in [(32, 32), (320, 240), (800, 600)] {
                for fit in [Fit::Crop, Fit::Scale] {
                    let plan = plan(width, height, size(to_width, to_height, fit));
                    let context = format!("{width}x{height} to {to_width}x{to_height}: {plan:?}");
                    let (left, top, part_width, part_height) = plan.part;
                    assert!(left + part_width <= width, "{context}");
                    assert!(top + part_height <= height, "{context}");
                    assert!(
                        plan.to.0 <= part_width && plan.to.1 <= part_height,
                        "{context}"
                    );
                    assert!(plan.to.0 > 0 && plan.to.1 > 0, "{context}");
                    let is_smaller = plan.to.0 < to_width || plan.to.1 < to_height;
                    let was_smaller = width < to_width || height < to_height;
                    assert!(!is_smaller || was_smaller, "{context}");
                }
            }
        }
    }

    #[test]
    fn shapes_are_kept_or_cut() {
        let scaled = plan(4000, 3000, size(320, 240, Fit::Scale));
        assert_eq!(scaled.to, (320, 240));
        let scaled = plan(4000, 1000, size(320, 240, Fit::Scale));
        assert_eq!(scaled.to, (960, 240));
        let cropped = plan(4000, 1000, size(96, 96, Fit::Crop));
        assert_eq!(cropped.part, (1500, 0, 1000, 1000));
        assert_eq!(cropped.to, (96, 96));
    }
}
