//! One idea of Millstream per file, each ending in an assert. Run one with
//! `cargo run -p millstream-examples --example quickstart`.
//!
//! | example | idea |
//! |---|---|
//! | `quickstart` | an aggregate and a projection of one's own |
//! | `dataflow` | windows over an aggregate's events, kept in a table |
//! | `schema_evolution` | events of version 1, read by version 3 |
