//! Tests of media on a memory store and a folder.

mod house;
mod keeping;
mod previews;
mod remote;
mod uploads;
