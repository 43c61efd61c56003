//! Joins driven by hand.

mod support;

mod interval;
