//! Joins driven by hand.

mod support;

mod interval;
mod saved;
mod state;
