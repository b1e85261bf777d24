//! Tests through the public functions.
