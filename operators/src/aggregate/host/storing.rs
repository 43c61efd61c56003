//! From decided events to the frame, the instance and the answer.

use super::*;

impl<A: Aggregate> Host<A> {
    /// Puts what was decided into the frame and applies it.
    pub(super) fn store(
        &mut self,
        slot: u32,
        hash: u64,
        options: CommandOptions,
        turn: &mut Turn<'_>,
    ) -> Outcome<A> {
        let mark = turn.mark();
        // Writing an event runs its `Serialize`, which is user code as well.
        let appended = caught(|| self.append(slot, hash, &options, turn));
        let evolved = match appended {
            Ok(appended) => appended.and_then(|bytes| self.evolve(slot, bytes, turn)),
            Err(panic) => Err(self.panicked(&*panic)),
        };
        if let Err(error) = evolved {
            turn.rewind(mark);
            if let CommandError::Event(error) = &error
                && turn.defers(error)
            {
                let decided = self.set_aside(slot, hash, options);
                return self.wait(Pending::Decided(decided));
            }
            return Outcome::Done(Err(error));
        }
        let instance = self.instances.get_mut(slot);
        let emitted = self.events.len() as u64;
        let last = turn.next_offset().0.checked_sub(1).map(Offset);
        let ack = Ack {
            events: emitted as u32,
            version: instance.events.checked_sub(1),
            position: last.map(|offset| Position {
                partition: self.partition,
                offset,
            }),
            is_repeat: false,
        };
        if let (Some(id), Some(version), true) = (options.id, ack.version, emitted > 0) {
            let first = Offset(turn.next_offset().0 - emitted);
            let events = ack.events;
            let seen = Seen {
                first,
                events,
                version,
            };
            turn.remember(hash, id, seen);
        }
        Outcome::Done(Ok(ack))
    }

    /// Puts the decided events into the frame; gives the bytes of their payloads.
    fn append(
        &mut self,
        slot: u32,
        hash: u64,
        options: &CommandOptions,
        turn: &mut Turn<'_>,
    ) -> Result<usize, CommandError<A::Rejection>> {
        let instance = self.instances.get_mut(slot);
        let target = Target {
            category: A::CATEGORY,
            id: &instance.id,
            hash,
        };
        let mut bytes = 0;
        for (version, event) in (instance.events..).zip(&self.events) {
            let metadata = options.metadata.as_deref();
            bytes += turn.append(target, version, event, metadata, options.event_time)?;
        }
        Ok(bytes)
    }

    /// Applies the events to the instance; one that panics is not trusted again.
    fn evolve(
        &mut self,
        slot: u32,
        payload_bytes: usize,
        turn: &mut Turn<'_>,
    ) -> Result<(), CommandError<A::Rejection>> {
        let emitted = self.events.len() as u64;
        if emitted == 0 {
            return Ok(());
        }
        let instance = self.instances.get_mut(slot);
        let (state, events) = (&mut instance.state, &self.events);
        let evolved = caught(|| {
            events.iter().for_each(|event| state.evolve(event));
        });
        if let Err(panic) = evolved {
            let instance = self.instances.get_mut(slot);
            if instance.frame > turn.settled {
                instance.broken = true;
            } else {
                self.instances.remove(slot);
            }
            return Err(self.panicked(&*panic));
        }
        instance.events += emitted;
        let emitted_capped = u16::try_from(emitted).unwrap_or(u16::MAX);
        instance.unsaved = instance.unsaved.saturating_add(emitted_capped);
        self.instances.wrote(slot, turn.frame);
        self.tally.events += emitted;
        self.policy.count_events(emitted);
        self.weigh(slot, emitted, payload_bytes);
        if self.snapshots.is_some()
            && self.instances.get_mut(slot).unsaved >= self.policy.interval()
        {
            self.snapshot(slot, turn);
        }
        Ok(())
    }
}
