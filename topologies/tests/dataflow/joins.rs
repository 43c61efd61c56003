//! Joins against nested loops over the whole input.

mod support;

mod in_time;
mod tables;
