//! Room versions as a small copyable handle.

use ruma::RoomVersionId;
use ruma::room_version_rules::RoomVersionRules;

/// One of the room versions that Hearth supports, 1 to 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomVersion(u8);

impl RoomVersion {
    /// Room version 1.
    pub const V1: Self = Self(1);
    /// Room version 2.
    pub const V2: Self = Self(2);
    /// Room version 3.
    pub const V3: Self = Self(3);
    /// Room version 4.
    pub const V4: Self = Self(4);
    /// Room version 5.
    pub const V5: Self = Self(5);
    /// Room version 6.
    pub const V6: Self = Self(6);
    /// Room version 7.
    pub const V7: Self = Self(7);
    /// Room version 8.
    pub const V8: Self = Self(8);
    /// Room version 9.
    pub const V9: Self = Self(9);
    /// Room version 10.
    pub const V10: Self = Self(10);
    /// Room version 11.
    pub const V11: Self = Self(11);
    /// Room version 12.
    pub const V12: Self = Self(12);

    /// All supported versions, oldest first.
    pub const SUPPORTED: [Self; 12] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
        Self::V5,
        Self::V6,
        Self::V7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V11,
        Self::V12,
    ];

    /// The handle for a room version id; `None` if the version is not supported.
    pub fn new(id: &RoomVersionId) -> Option<Self> {
        Self::parse(id.as_str())
    }

    /// The handle for a version as written in `content.room_version`; `None` if it is not supported.
    pub fn parse(version: &str) -> Option<Self> {
        Self::SUPPORTED
            .into_iter()
            .find(|supported| supported.as_str() == version)
    }

    /// The version's identifier.
    pub fn id(self) -> RoomVersionId {
        match self.0 {
            1 => RoomVersionId::V1,
            2 => RoomVersionId::V2,
            3 => RoomVersionId::V3,
            4 => RoomVersionId::V4,
            5 => RoomVersionId::V5,
            6 => RoomVersionId::V6,
            7 => RoomVersionId::V7,
            8 => RoomVersionId::V8,
            9 => RoomVersionId::V9,
            10 => RoomVersionId::V10,
            11 => RoomVersionId::V11,
            _ => RoomVersionId::V12,
        }
    }

    /// The version's identifier as written in JSON.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            1 => "1",
            2 => "2",
            3 => "3",
            4 => "4",
            5 => "5",
            6 => "6",
            7 => "7",
            8 => "8",
            9 => "9",
            10 => "10",
            11 => "11",
            _ => "12",
        }
    }

    /// What is particular to the version.
    pub fn rules(self) -> &'static RoomVersionRules {
        match self.0 {
            1 => &RoomVersionRules::V1,
            2 => &RoomVersionRules::V2,
            3 => &RoomVersionRules::V3,
            4 => &RoomVersionRules::V4,
            5 => &RoomVersionRules::V5,
            6 => &RoomVersionRules::V6,
            7 => &RoomVersionRules::V7,
            8 => &RoomVersionRules::V8,
            9 => &RoomVersionRules::V9,
            10 => &RoomVersionRules::V10,
            11 => &RoomVersionRules::V11,
            _ => &RoomVersionRules::V12,
        }
    }
}

/// Version 12, in which Hearth makes rooms unless told otherwise.
impl Default for RoomVersion {
    fn default() -> Self {
        Self::V12
    }
}

impl std::fmt::Display for RoomVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
