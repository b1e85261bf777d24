//! Tests of the event kernel through its public functions.

#[cfg(test)]
mod auth;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod format;
#[cfg(test)]
mod ids;
#[cfg(test)]
mod random_rooms;
#[cfg(test)]
mod redaction;
#[cfg(test)]
mod resolution;
#[cfg(test)]
mod support;
