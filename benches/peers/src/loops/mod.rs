//! Loops written by hand, one for each query: what a program does that needs no engine.
//!
//! Invariants: times never decrease (the sources are read so), so a window is complete as soon as the next
//! one begins. Not here: late events, recovery, more than one query at a time.

mod keyed;
mod q3;
mod q5;
mod q7;
mod q8;
mod stateless;

use anyhow::Result;

use crate::{Options, Query, Tally};

/// A map as fast as they come.
pub(crate) type FastMap<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;

pub(crate) fn run(options: &Options) -> Result<Tally> {
    if options.query == Query::Keyed {
        return Ok(match options.workers {
            1 => keyed::one_thread(options),
            _ => keyed::two_threads(options),
        });
    }
    let source = options.source(0, 1)?;
    let mut tally = options.tally();
    match options.query {
        Query::Q0 => stateless::q0(source, &mut tally),
        Query::Q1 => stateless::q1(source, &mut tally),
        Query::Q2 => stateless::q2(source, &mut tally),
        Query::Q3 => q3::q3(source, &mut tally),
        Query::Q5 => q5::q5(source, options.every, &mut tally),
        Query::Q7 => q7::q7(source, &mut tally),
        Query::Q8 => q8::q8(source, &mut tally),
        Query::Keyed => {}
    }
    Ok(tally)
}
