//! Settings of how long messages are kept.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `[retention]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// In rooms that do not say.
    pub default_lifetime: Lifetime,
    /// At least, whatever a room says.
    pub min_lifetime: Lifetime,
    /// At most, whatever a room says.
    pub max_lifetime: Lifetime,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            default_lifetime: Lifetime::FOREVER,
            min_lifetime: Lifetime::FOREVER,
            max_lifetime: Lifetime::FOREVER,
        }
    }
}

/// A time for which something is kept: `"90 days"`, `"12 hours"`, `"30 s"`, `"forever"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(u64);

const UNITS: [(&str, u64); 10] = [
    ("days", 86_400),
    ("day", 86_400),
    ("d", 86_400),
    ("hours", 3_600),
    ("hour", 3_600),
    ("h", 3_600),
    ("minutes", 60),
    ("minute", 60),
    ("min", 60),
    ("s", 1),
];

impl Lifetime {
    /// Without end.
    pub const FOREVER: Self = Self(u64::MAX);

    /// In seconds; `None` without end.
    pub fn seconds(self) -> Option<u64> {
        (self != Self::FOREVER).then_some(self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "forever" {
            return Some(Self::FOREVER);
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        let seconds = number.parse::<u64>().ok()?.checked_mul(*factor)?;
        (1..u64::from(u32::MAX))
            .contains(&seconds)
            .then_some(Self(seconds))
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.seconds() else {
            return formatter.write_str("forever");
        };
        let fitting = [("days", 86_400), ("hours", 3_600), ("minutes", 60)];
        let mut fitting = fitting
            .iter()
            .filter(|(_, factor)| seconds.is_multiple_of(*factor));
        let Some((unit, factor)) = fitting.next() else {
            return write!(formatter, "{seconds} s");
        };
        match seconds / factor {
            1 => write!(formatter, "1 {}", unit.strip_suffix('s').unwrap_or(unit)),
            count => write!(formatter, "{count} {unit}"),
        }
    }
}

impl Serialize for Lifetime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lifetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            "a time such as \"90 days\", \"12 hours\", \"30 minutes\" or \"30 s\", or \"forever\"";
        let text = String::deserialize(deserializer)
            .map_err(|_| de::Error::custom(format!("expected {expected}")))?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_print_in_the_largest_whole_unit() {
        for (text, printed) in [
            ("forever", "forever"),
            ("90 days", "90 days"),
            ("1d", "1 day"),
            ("48 hours", "2 days"),
            ("36h", "36 hours"),
            ("90 min", "90 minutes"),
            ("30 s", "30 s"),
        ] {
            let time = Lifetime::parse(text).expect(text);
            assert_eq!(time.to_string(), printed);
            assert_eq!(Lifetime::parse(printed), Some(time));
        }
        for text in [
            "",
            "0 s",
            "days",
            "-1 d",
            "1.5 days",
            "3",
            "5 moons",
            "99999999999 days",
        ] {
            assert_eq!(Lifetime::parse(text), None, "{text}");
        }
    }
}
