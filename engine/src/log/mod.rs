//! The event log: frames, and what stores them.
//!
//! Place: below everything else. Invariants: offsets and versions have no gaps; a frame is stored whole
//! or not at all; each frame names the hash of the one before it in its partition, so a change to a
//! stored byte is seen.

pub mod frame;
