//! How many wait and since when, by the class of why they failed.

use std::collections::BTreeSet;
use std::time::Duration;

use compact_str::CompactString;
use millstream_engine::metrics::ParkedCause;
use millstream_engine::time::Timestamp;

/// What waits of one class.
#[derive(Debug)]
struct Class<I> {
    name: CompactString,
    /// Those that wait for a person.
    dead: u64,
    /// All of them, by the time of the first failure.
    ages: BTreeSet<(Timestamp, I)>,
}

/// One that waits, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stands<'a> {
    pub(crate) class: &'a str,
    pub(crate) since: Timestamp,
    pub(crate) is_dead: bool,
}

/// All that waits. Classes are few: words of the program.
#[derive(Debug)]
pub(crate) struct Standing<I> {
    classes: Vec<Class<I>>,
}

impl<I> Default for Standing<I> {
    fn default() -> Self {
        let classes = Vec::new();
        Self { classes }
    }
}

impl<I: Ord> Standing<I> {
    pub(crate) fn add(&mut self, one: Stands<'_>, id: I) {
        let found = self.classes.iter().position(|of| of.name == one.class);
        let at = found.unwrap_or_else(|| {
            self.classes.push(Class {
                name: one.class.into(),
                dead: 0,
                ages: BTreeSet::new(),
            });
            self.classes.len() - 1
        });
        let class = &mut self.classes[at];
        class.dead += u64::from(one.is_dead);
        class.ages.insert((one.since, id));
    }

    /// As it was added.
    pub(crate) fn remove(&mut self, one: Stands<'_>, id: I) {
        let Some(at) = self.classes.iter().position(|of| of.name == one.class) else {
            return;
        };
        let class = &mut self.classes[at];
        class.dead -= u64::from(one.is_dead);
        class.ages.remove(&(one.since, id));
        if class.ages.is_empty() {
            self.classes.swap_remove(at);
        }
    }

    /// The classes of which something waits.
    pub(crate) fn now(&self, now: Timestamp) -> Vec<ParkedCause<'_>> {
        let mut causes = Vec::with_capacity(self.classes.len());
        for class in &self.classes {
            let oldest = class.ages.first();
            causes.push(ParkedCause {
                cause: &class.name,
                dead_letters: class.dead,
                oldest: oldest.map_or(Duration::ZERO, |(since, _)| now.since(*since)),
            });
        }
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_number_and_its_oldest() {
        let mut standing = Standing::default();
        let one = |class, since, is_dead| Stands {
            class,
            since: Timestamp(since),
            is_dead,
        };
        standing.add(one("error", 5, true), 1);
        standing.add(one("error", 3, false), 2);
        standing.add(one("panic", 4, true), 3);
        let at = |standing: &Standing<u32>| {
            let now = standing.now(Timestamp(10));
            let told = now
                .iter()
                .map(|of| (of.cause.to_owned(), of.dead_letters, of.oldest.as_micros()));
            told.collect::<Vec<_>>()
        };
        let all = [("error".to_owned(), 1, 7), ("panic".to_owned(), 1, 6)];
        assert_eq!(at(&standing), all);
        standing.remove(one("error", 3, false), 2);
        standing.remove(one("panic", 4, true), 3);
        assert_eq!(at(&standing), [("error".to_owned(), 1, 5)]);
        standing.remove(one("error", 5, true), 1);
        assert!(at(&standing).is_empty());
    }
}
