//! Queries in SQL against the same computed in plain Rust.
