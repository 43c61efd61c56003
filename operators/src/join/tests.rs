//! Joins driven by hand.

mod support;

mod interval;
mod restarts;
mod saved;
mod state;
