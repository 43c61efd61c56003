//! What lies in the lane: single commands and bulks, taken, answered, and put back where they must wait.

use super::ahead::Ahead;
use super::*;
use crate::aggregate::taking;

impl<A: Aggregate> Host<A> {
    /// Handles one item; gives how many of its commands are done.
    fn handle(&mut self, item: CommandItem<A>, seen: Option<u32>, turn: &mut Turn<'_>) -> usize {
        match item.0 {
            Item::One(envelope, reply) => self.handle_one(envelope, reply, seen, turn),
            Item::Bulk(envelopes, reply, counted) => {
                drop(counted); // No longer in the lane.
                self.handle_bulk(envelopes, reply, turn)
            }
        }
    }

    /// Keeps an item for the next turn, before all that is still in the lane.
    fn put_back(&mut self, item: CommandItem<A>) {
        self.waiting.push_back(match item.0 {
            Item::One(envelope, reply) => Waiting::One(Pending::Asked(envelope), reply),
            Item::Bulk(envelopes, reply, _) => Waiting::Bulk {
                answers: envelopes.iter().map(|_| None).collect(),
                accepted: is_accepted(&envelopes),
                rest: envelopes
                    .into_iter()
                    .map(Pending::Asked)
                    .enumerate()
                    .collect(),
                reply,
            },
        });
    }

    /// Handles what was put back, mostly in an earlier turn; it may have to wait once more.
    fn handle_waiting(&mut self, waiting: Waiting<A>, turn: &mut Turn<'_>) -> usize {
        match waiting {
            Waiting::One(pending, reply) => {
                let acknowledge = pending.options().acknowledge;
                let outcome = self.decide_pending(pending, turn);
                self.answer_one(outcome, acknowledge, reply)
            }
            Waiting::Bulk {
                mut answers,
                rest,
                accepted,
                reply,
            } => {
                let mut still = Vec::new();
                let count = rest.len();
                for (place, pending) in rest {
                    if turn.is_full() {
                        still.push((place, pending));
                        continue;
                    }
                    match self.decide_pending(pending, turn) {
                        Outcome::Done(answer) => answers[place] = Some(answer),
                        Outcome::Wait(pending) => still.push((place, pending)),
                    }
                }
                let done = count - still.len();
                if still.is_empty() {
                    self.answer_bulk(answers.into_iter().flatten().collect(), accepted, reply);
                } else {
                    self.waiting.push_back(Waiting::Bulk {
                        answers,
                        rest: still,
                        accepted,
                        reply,
                    });
                }
                done
            }
        }
    }

    fn handle_one(
        &mut self,
        envelope: Envelope<A>,
        reply: Reply<Ack, CommandError<A::Rejection>>,
        seen: Option<u32>,
        turn: &mut Turn<'_>,
    ) -> usize {
        let acknowledge = envelope.options.acknowledge;
        let outcome = self.decide(envelope, seen, turn);
        self.answer_one(outcome, acknowledge, reply)
    }

    /// Answers a single command, or keeps it; gives how many are done.
    fn answer_one(
        &mut self,
        outcome: Outcome<A>,
        acknowledge: Acknowledge,
        reply: Reply<Ack, CommandError<A::Rejection>>,
    ) -> usize {
        match outcome {
            // What is refused may rest on events in flight: whoever looks for them then must find them.
            Outcome::Done(Ok(ack)) if acknowledge == Acknowledge::Accepted => {
                // A caller that gave up is no error.
                let _ = reply.send(Ok(ack));
            }
            Outcome::Done(answer) => self.replies.push(reply, answer),
            Outcome::Wait(pending) => {
                self.waiting.push_back(Waiting::One(pending, reply));
                return 0;
            }
        }
        1
    }

    fn handle_bulk(
        &mut self,
        envelopes: Vec<Envelope<A>>,
        reply: BulkReply<A>,
        turn: &mut Turn<'_>,
    ) -> usize {
        let count = envelopes.len();
        let accepted = is_accepted(&envelopes);
        let mut answers = Vec::with_capacity(count);
        let mut envelopes = envelopes.into_iter();
        let mut ahead = Ahead::new();
        loop {
            let seen = ahead.next(&self.instances, envelopes.as_slice(), Envelope::single);
            let Some(envelope) = envelopes.next() else {
                break;
            };
            let outcome = if turn.is_full() {
                Outcome::Wait(Pending::Asked(envelope))
            } else {
                self.decide(envelope, seen, turn)
            };
            match outcome {
                Outcome::Done(answer) => answers.push(answer),
                Outcome::Wait(pending) => {
                    let first = answers.len();
                    let mut answers: Vec<_> = answers.into_iter().map(Some).collect();
                    answers.resize_with(count, || None);
                    let rest = std::iter::once(pending).chain(envelopes.map(Pending::Asked));
                    let waiting = Waiting::Bulk {
                        answers,
                        rest: (first..).zip(rest).collect(),
                        accepted,
                        reply,
                    };
                    if turn.is_full() {
                        // So everything behind it waits as well, in order.
                        self.waiting.push_back(waiting);
                        return first;
                    }
                    // Rarely, an instance broke within this bulk: commands to it alone wait. What the lane has behind this
                    // bulk is decided in this turn and would overtake the others if they waited too.
                    return first + self.handle_waiting(waiting, turn);
                }
            }
        }
        self.answer_bulk(answers, accepted, reply);
        count
    }

    /// Whether as many commands wait as may.
    fn is_crowded(&self) -> bool {
        let commands = self.waiting.iter().map(|waiting| match waiting {
            Waiting::One(..) => 1,
            Waiting::Bulk { rest, .. } => rest.len(),
        });
        commands.sum::<usize>() >= WAITING_MAX
    }

    fn answer_bulk(&mut self, answers: Vec<CommandResult<A>>, accepted: bool, reply: BulkReply<A>) {
        if accepted && answers.iter().all(Result::is_ok) {
            let _ = reply.send(Ok(answers));
        } else {
            self.bulk_replies.push(reply, Ok(answers));
        }
    }
}

/// Whether a bulk is answered once it is decided, if nothing of it is refused.
fn is_accepted<A: Aggregate>(envelopes: &[Envelope<A>]) -> bool {
    let mut levels = envelopes
        .iter()
        .map(|envelope| envelope.options.acknowledge);
    levels.all(|level| level == Acknowledge::Accepted)
}

impl<A: Aggregate> PartitionInput for Host<A> {
    fn queued(&self) -> usize {
        self.lane.len() + self.extra.load(Ordering::Relaxed) + self.waiting.len()
    }

    fn take(&mut self, items_max: usize, turn: &mut Turn<'_>) -> usize {
        let mut taken = 0;
        // What must wait once more comes before what was not looked at: the order is kept.
        let mut before = std::mem::take(&mut self.waiting);
        while !turn.is_full()
            && let Some(item) = before.pop_front()
        {
            taken += self.handle_waiting(item, turn);
        }
        self.waiting.append(&mut before);
        while taken < items_max && !turn.is_full() && !self.is_crowded() {
            // A bulk counts for its commands: by bytes, the lane gives about as many as are wanted.
            let wanted = items_max - taken;
            let bytes = (wanted * size_of::<Envelope<A>>()) as u64;
            let mut drained = std::mem::take(&mut self.drained);
            let summary = self.lane.drain_within(wanted, bytes, &mut drained);
            let mut items = drained.drain(..);
            let mut ahead = Ahead::new();
            loop {
                let seen = ahead.next(&self.instances, items.as_slice(), CommandItem::single);
                let Some(item) = items.next() else {
                    break;
                };
                if turn.is_full() {
                    self.put_back(item);
                } else {
                    taken += self.handle(item, seen, turn);
                }
            }
            drop(items);
            self.drained = drained;
            if summary.items == 0 || summary.emptied {
                break;
            }
        }
        taken
    }

    fn completion(&mut self) -> Option<Completion> {
        let singles = self.replies.completion(CommandError::unknown);
        let bulks = self.bulk_replies.completion(CommandError::unknown);
        let taken = std::mem::take(&mut self.taken);
        let tally = std::mem::take(&mut self.tally);
        self.metrics.observe_turn(&tally);
        let store = self.snapshots.as_ref().filter(|_| !taken.is_empty());
        let writer = store.map(|snapshots| snapshots.writer.clone());
        let partition = self.partition;
        if singles.is_none() && bulks.is_none() && writer.is_none() {
            return None;
        }
        Some(Box::new(move |committed| {
            for answer in [singles, bulks].into_iter().flatten() {
                answer(committed);
            }
            if let (Ok(Some(frame)), Some(writer)) = (committed, writer) {
                taking::store(taken, &writer, partition, frame);
            }
        }))
    }

    fn settled(&mut self, frame: u64) {
        self.settled = frame;
        self.instances.settled(frame);
    }

    fn tidy(&mut self, turn: &Turn<'_>) -> bool {
        self.passivate_excess(turn.monotonic);
        let since = turn.monotonic.saturating_sub(self.swept_at);
        if since >= SWEEP_EVERY {
            self.swept_at = turn.monotonic;
            self.passivate_idle(turn.monotonic, since);
            self.metrics
                .observe_resident(self.instances.len(), self.instances.bytes());
        }
        self.instances.len() > 0
    }

    fn refuse(&mut self, cause: &LogError) {
        for waiting in self.waiting.drain(..) {
            match waiting {
                Waiting::One(_, reply) => {
                    let _ = reply.send(Err(CommandError::unknown(cause)));
                }
                Waiting::Bulk { reply, .. } => {
                    let _ = reply.send(Err(CommandError::unknown(cause)));
                }
            }
        }
        let mut queued = Vec::new();
        self.lane.drain(usize::MAX, &mut queued);
        for item in queued {
            match item.0 {
                Item::One(_, reply) => {
                    let _ = reply.send(Err(CommandError::unknown(cause)));
                }
                Item::Bulk(_, reply, _) => {
                    let _ = reply.send(Err(CommandError::unknown(cause)));
                }
            }
        }
    }
}
