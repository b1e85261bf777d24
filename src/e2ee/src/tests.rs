//! Tests of the crate through its public functions, on the store in memory.

mod backups;
mod claiming;
mod dehydrating;
mod federating;
mod house;
mod schemas;
mod sending;
mod signing;
mod simulation;
mod uploading;
