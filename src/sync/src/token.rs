//! Tokens: a position in the order of all commits, or a place in a room's history. Every parameter takes both.

use std::fmt;
use std::str::FromStr;

use hearth_data::{Place, RoomNo, timeline};
use hearth_store::{Position, Snapshot};

use crate::{Error, Result};

/// What a client gets as `next_batch`: all commits up to the position are known to it, and all typing and presence
/// up to the versions; of messages to its device, of which an answer holds a limited number, those up to a position of
/// their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncToken {
    /// The position.
    pub position: Position,
    /// The version of typing.
    pub typing: u64,
    /// The version of presence.
    pub presence: u64,
    /// Messages to the device up to here are known; `None`: up to the position, too.
    pub to_device: Option<Position>,
    /// Timelines told after this showed state events that are not the state, so that the client may have another state
    /// than the room until its next sync tells it.
    pub misled_since: Option<Position>,
}

impl SyncToken {
    /// Up to where messages to the device are known.
    pub fn to_device(&self) -> Position {
        self.to_device.unwrap_or(self.position)
    }

    /// What happened up to here the client has right.
    pub fn right_until(&self) -> Position {
        self.misled_since
            .map_or(self.position, |misled| misled.min(self.position))
    }
}

/// A token of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// `s<position>_t<typing>_p<presence>`, with `_d<position>` at the end where messages to the device are left and
    /// `_m<position>` where the state may be wrong: a moment in the order of commits.
    Sync(SyncToken),
    /// `p<place>`: the gap before a place of a room's history.
    History(Place),
    /// `p<place>_s<position>`: the same, as a sync up to a position told it (`prev_batch`).
    Gap {
        /// The gap before this place.
        place: Place,
        /// What the sync knew.
        position: Position,
    },
}

impl Token {
    /// The gap in a room's history: events before it have a smaller place.
    pub async fn place(self, snapshot: &dyn Snapshot, room: RoomNo) -> Result<Place> {
        match self {
            Self::History(place) | Self::Gap { place, .. } => Ok(place),
            Self::Sync(token) => Ok(timeline::place_at(snapshot, room, token.position).await?),
        }
    }
}

impl fmt::Display for SyncToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            position,
            typing,
            presence,
            to_device,
            misled_since,
        } = self;
        write!(f, "s{position}_t{typing}_p{presence}")?;
        if let Some(to_device) = to_device {
            write!(f, "_d{to_device}")?;
        }
        if let Some(misled_since) = misled_since {
            write!(f, "_m{misled_since}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync(token) => token.fmt(f),
            Self::History(place) => write!(f, "p{}", place.0),
            Self::Gap { place, position } => write!(f, "p{}_s{position}", place.0),
        }
    }
}

impl FromStr for Token {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::BadToken(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Token> {
    if let Some(place) = text.strip_prefix('p') {
        let Some((place, position)) = place.split_once("_s") else {
            return place.parse().ok().map(|place| Token::History(Place(place)));
        };
        return Some(Token::Gap {
            place: Place(place.parse().ok()?),
            position: Position(position.parse().ok()?),
        });
    }
    let (text, misled_since) = optional(text.strip_prefix('s')?, "_m")?;
    let (text, to_device) = optional(text, "_d")?;
    let (text, presence) = match text.split_once("_p") {
        Some((rest, presence)) => (rest, presence.parse().ok()?),
        None => (text, 0),
    };
    let (position, typing) = match text.split_once("_t") {
        Some((position, typing)) => (position, typing.parse().ok()?),
        None => (text, 0),
    };
    let position = Position(position.parse().ok()?);
    Some(Token::Sync(SyncToken {
        position,
        typing,
        presence,
        to_device,
        misled_since,
    }))
}

/// The position behind a mark at the end, if the mark is there.
fn optional<'a>(text: &'a str, mark: &str) -> Option<(&'a str, Option<Position>)> {
    let Some((rest, position)) = text.split_once(mark) else {
        return Some((text, None));
    };
    Some((rest, Some(Position(position.parse().ok()?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_being_written_and_read() {
        let token = Token::Sync(SyncToken {
            position: Position(123),
            typing: 45,
            presence: 6,
            to_device: None,
            misled_since: None,
        });
        assert_eq!(token.to_string(), "s123_t45_p6");
        for text in [
            "s123_t45_p6",
            "p7",
            "p-4294967296",
            "p-7_s12",
            "s0_t0_p0",
            "s9_t3_p0_d7",
            "s9_t3_p0_m8",
            "s9_t3_p0_d7_m8",
        ] {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), text);
        }
        for text in ["s9", "s9_t0", "s9_p0"] {
            assert_eq!(text.parse::<Token>().unwrap().to_string(), "s9_t0_p0");
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        for text in [
            "",
            "s",
            "p",
            "x1",
            "s-1",
            "s1_t",
            "p1.5",
            "p1_s",
            "p_s1",
            "s1_t1_t1",
            "s1_p",
            "s1_p1_t1",
            "s9_t3_p0_m8_d7",
            "p99999999999999999999",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
