//! Every function against a plain computation over the whole input, and against the laws of the contract.

mod adaptors;
mod items;
mod laws;
mod numbers;
mod sketches;
