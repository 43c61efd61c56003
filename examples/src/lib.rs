//! One idea of Millstream per file, each ending in an assert. Run one with
//! `cargo run -p millstream-examples --example quickstart`.
//!
//! | example | idea |
//! |---|---|
//! | `quickstart` | an aggregate and a projection of one's own |
//! | `dataflow` | windows over an aggregate's events, kept in a table |
//! | `windowed_join` | two streams side by side, window by window |
//! | `session_window` | windows that end when a key is silent |
//! | `process` | an operator of one's own with state and a timer, run by a test's driver |
//! | `late_events` | a bound of disorder, an allowed lateness, a side output |
//! | `pattern` | a sequence of events, with something that must not be between |
//! | `schema_evolution` | events of version 1, read by version 3 |
