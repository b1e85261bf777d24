//! Tests through the public functions, on the memory store.

mod aftermath;
mod creating;
mod fixture;
mod members;
mod passing;
mod people;
mod presence;
mod retention;
mod sending;
mod third_party;
mod together;
