//! Tests through the public functions, on the memory store.

mod creating;
mod fixture;
mod members;
mod passing;
mod presence;
mod sending;
mod together;
