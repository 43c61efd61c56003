//! The end of a turn: its frame is sealed and handed over with its answers.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::*;

impl PartitionCore {
    /// Seals the frame of this turn and hands it over with the turn's answers. Its stamp is held until they are given.
    pub(super) fn submit(&mut self, stamp: Stamp) -> Result<(), String> {
        let completions: Vec<_> = self
            .inputs
            .iter_mut()
            .filter_map(|input| input.completion())
            .collect();
        let frame = self.seal().map_err(|error| error.to_string())?;
        if frame.is_none() && completions.is_empty() {
            return Ok(());
        }
        if frame.is_none() && self.in_flight() == 0 {
            // Decided on durable state alone.
            completions.into_iter().for_each(|answer| answer(&Ok(None)));
            return Ok(());
        }
        self.submitted += 1;
        let number = self.submitted;
        self.shared.submitted.store(number, Ordering::Release);
        let submission = Submission {
            frame,
            done: self.done(number, completions, stamp),
        };
        self.writer.submit(submission).map_err(|refused| {
            (refused.done)(&Err(LogError::Closed));
            "the log's writer takes nothing any more".to_owned()
        })
    }

    pub(super) fn done(
        &self,
        number: u64,
        completions: Vec<Completion>,
        stamp: Stamp,
    ) -> Box<dyn FnOnce(&Committed) + Send> {
        let mut answers = Answers {
            number,
            completions,
            stamp: Some(stamp),
            shared: Arc::clone(&self.shared),
            mailbox: Arc::clone(&self.mailbox),
        };
        Box::new(move |committed| answers.give(committed))
    }

    fn seal(&mut self) -> Result<Option<SealedFrame>, crate::log::frame::DraftError> {
        let shop = &mut self.shop;
        shop.kinds.clear();
        if shop.builder.is_empty() {
            // Everything was taken back: shapes may have been named, and no event refers to them.
            shop.encoder.clear();
            shop.commands.clear();
            return Ok(None);
        }
        let mut dictionary = Vec::new();
        let mut attachments: Vec<(u8, &[u8])> = Vec::with_capacity(2);
        if shop.encoder.has_shapes() {
            shop.encoder.dictionary(&mut dictionary);
            attachments.push((SHAPES, &dictionary));
        }
        if !shop.commands.is_empty() {
            attachments.push((COMMANDS, &shop.commands));
        }
        let ids = (self.ids)(self.recorded_last);
        let frame = shop.builder.seal(
            self.partition,
            self.head.next,
            ids,
            self.head.hash,
            &attachments,
        )?;
        shop.encoder.clear();
        shop.commands.clear();
        self.head = Head {
            next: frame.first.plus(u64::from(frame.count)),
            hash: frame.hash,
        };
        let now = Moment {
            recorded: self.recorded_last,
            monotonic: self.clock.monotonic(),
        };
        shop.dedup.forget(self.head.next, now);
        Ok(Some(frame))
    }
}

/// The answers of a turn. Given once, if only with the end of this: a frame that nobody settles is in flight for ever, and neither
/// a restart nor a shutdown gets past it.
struct Answers {
    number: u64,
    completions: Vec<Completion>,
    /// Until they are given.
    stamp: Option<Stamp>,
    shared: Arc<PartitionShared>,
    mailbox: Arc<Mailbox>,
}

impl Answers {
    fn give(&mut self, committed: &Committed) {
        let Some(stamp) = self.stamp.take() else {
            return;
        };
        let mut panicked = None;
        for answer in std::mem::take(&mut self.completions) {
            // What is answered may be dropped here, where its caller has gone, and that is code of the program's own.
            let answered = catch_unwind(AssertUnwindSafe(|| answer(committed)));
            panicked = panicked.or(answered.err());
        }
        self.shared.settle(self.number, committed);
        drop(stamp);
        self.mailbox.wake();
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // Nothing is left to be told, or this may come while another panic is under way.
        let _ = catch_unwind(AssertUnwindSafe(|| self.give(&Err(LogError::Closed))));
    }
}
