//! Commands that were put back for a later turn.

use super::*;

/// A command that waits.
pub(super) enum Pending<A: Aggregate> {
    /// It is not decided yet.
    Asked(Envelope<A>),
    /// It is decided, on a state that nothing changes before its turn comes: what is behind it waits as well.
    Decided(Decided<A>),
}

/// A command whose events did not fit beside those of others: they have the next frame, or are refused there.
pub(super) struct Decided<A: Aggregate> {
    id: CompactString,
    hash: u64,
    options: CommandOptions,
    /// Events of the stream that they come after.
    after: u64,
    events: Vec<A::Event>,
}

impl<A: Aggregate> Pending<A> {
    pub(super) fn options(&self) -> &CommandOptions {
        match self {
            Self::Asked(envelope) => &envelope.options,
            Self::Decided(decided) => &decided.options,
        }
    }
}

impl<A: Aggregate> Host<A> {
    /// Goes on with a command that waited.
    pub(super) fn decide_pending(
        &mut self,
        pending: Pending<A>,
        turn: &mut Turn<'_>,
    ) -> Outcome<A> {
        match pending {
            Pending::Asked(envelope) => self.decide(envelope, None, turn),
            Pending::Decided(decided) => self.resume(decided, turn),
        }
    }

    /// Keeps the events decided last for a turn to come.
    pub(super) fn set_aside(
        &mut self,
        slot: u32,
        hash: u64,
        options: CommandOptions,
    ) -> Decided<A> {
        let instance = self.instances.get_mut(slot);
        Decided {
            id: instance.id.clone(),
            hash,
            options,
            after: instance.events,
            events: std::mem::take(&mut self.events),
        }
    }

    fn resume(&mut self, decided: Decided<A>, turn: &mut Turn<'_>) -> Outcome<A> {
        self.tally.commands += 1;
        turn.deciding(&decided.id);
        // It may have been passivated meanwhile.
        let slot = match self.resident(&decided.id, decided.hash, None, turn) {
            Ok(Some(slot)) => slot,
            Ok(None) => return self.wait(Pending::Decided(decided)),
            Err(error) => {
                let_go(decided.events);
                return Outcome::Done(Err(error));
            }
        };
        let events = self.instances.get_mut(slot).events;
        debug_assert_eq!(events, decided.after, "nothing overtakes what waits");
        let_go(std::mem::replace(&mut self.events, decided.events));
        self.store(slot, decided.hash, decided.options, turn)
    }
}
