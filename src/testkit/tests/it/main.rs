//! Several servers in one process.

mod devices;
#[cfg(test)]
mod entering;
mod joining;
mod random;
