//! The settings of a server: read from files, environment and flags, checked once, then plain data.
//!
//! Main types: [`Config`], every setting with its meaning and default; [`Sources`], where settings are read from;
//! [`Secret`] and [`ByteSize`], the two kinds of value that are more than text and numbers.
//!
//! Knows no other crate of Hearth. Domain crates do not know it either: the binary turns it into their own settings.

mod check;
mod load;
mod media;
mod retention;
mod settings;
mod value;

pub use load::{Error, Sources};
pub use media::{Media, S3};
pub use retention::{Lifetime, Retention};
pub use settings::{
    Config, Contact, Egress, Federation, Limits, Log, LogFormat, Password, Policy, Rate,
    RateLimits, Registration, Room, Store, Tls, Turn, Web, WellKnown,
};
pub use value::{ByteSize, Secret};
