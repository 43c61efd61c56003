//! Who asks the engine for something: sends, repeats, and remembers what was answered.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use millstream::prelude::*;
use millstream_engine::event::EventId;
use millstream_engine::partition::{AppendError, Appended, Conflict, DedupLimits};
use millstream_engine::state::{DeadLetter, DeadLetterStatus};
use millstream_operators::aggregate::{BulkCommand, CommandResult};
use millstream_operators::failing::LetterStanding;
use millstream_operators::projection::{LetterDecision, LetterOrder};
use uuid::Uuid;

use super::contents::{NOTES, Note};
use super::model::{Model, Operation, Outcome};
use super::process::Process;
use super::topology::{Account, AccountEvent, Command, Item, UNLUCKY, UNLUCKY_ITEMS};
use crate::simulation::Random;
use crate::tally::{TALLY, add};

enum Answer {
    Commands(Vec<CommandResult<Account>>),
    Append(Result<Appended, AppendError>),
}

/// One of those that an answer is for: the operation and its attempt, or none for one that nothing comes of.
struct Asked {
    attempt: Option<(usize, usize)>,
    stream: String,
    expected: Expected,
    /// Events of the stream that were known when it was sent.
    floor: u64,
}

struct Pending {
    asked: Vec<Asked>,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

/// Requests under way.
#[derive(Default)]
pub(crate) struct Clients {
    pending: Vec<Pending>,
}

/// Accounts and notes that there are.
pub(super) const STREAMS: u64 = 5;
/// Requests under way at the same time.
const PENDING_MAX: usize = 40;
/// Operations that may be repeated at once after a restart: more than the shorter windows remember.
const LATELY: u64 = 40;

impl Clients {
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// The process is gone: nobody is told anything more.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    /// Looks at the answers, or at some.
    pub(crate) fn poll(&mut self, model: &mut Model) {
        let mut context = Context::from_waker(Waker::noop());
        self.pending
            .retain_mut(|pending| match pending.answer.as_mut().poll(&mut context) {
                Poll::Pending => true,
                Poll::Ready(Answer::Commands(answers)) => {
                    for (asked, answer) in pending.asked.drain(..).zip(answers) {
                        command_answered(model, &asked, answer);
                    }
                    false
                }
                Poll::Ready(Answer::Append(answer)) => {
                    append_answered(model, &pending.asked[0], answer);
                    false
                }
            });
    }

    /// Asks for something.
    pub(crate) fn ask(&mut self, model: &mut Model, process: &Process, random: &mut Random) {
        if self.pending.len() >= PENDING_MAX {
            return;
        }
        match random.below(10) {
            0..=3 => {
                let tag = command(model, random);
                self.send(model, process, &[tag], random);
            }
            4 => {
                let count = 1 + random.below(6);
                let tags: Vec<_> = (0..count).map(|_| command(model, random)).collect();
                self.send(model, process, &tags, random);
            }
            5 | 6 => {
                let tag = note(model, random);
                self.append(model, process, tag);
            }
            7 => self.look(model, process, random),
            _ => self.repeat_any(model, process, random),
        }
    }

    /// Callers who had asked a process that is gone ask once more, the last ones first, before anything else happens: whoever is
    /// made anew has to remember as far back as the one before. Later a window that began too short has the right length, and
    /// what was forgotten too early is too old.
    pub(crate) fn ask_once_more(
        &mut self,
        model: &mut Model,
        process: &Process,
        random: &mut Random,
    ) {
        let count = model.operations.len();
        let tags = (0..count).rev().take(random.below(LATELY) as usize);
        for tag in tags {
            if self.pending.len() < PENDING_MAX && random.below(4) > 0 {
                self.repeat(model, process, random, tag);
            }
        }
        // Nothing is sent before.
        self.poll(model);
    }

    /// Asks once more for an operation, the last ones mostly: their outcomes are in doubt.
    fn repeat_any(&mut self, model: &mut Model, process: &Process, random: &mut Random) {
        let count = model.operations.len() as u64;
        if count == 0 {
            return;
        }
        let among = if random.below(3) == 0 { count } else { 6 };
        let back = random.below(count.min(among));
        self.repeat(model, process, random, (count - 1 - back) as usize);
    }

    fn repeat(&mut self, model: &mut Model, process: &Process, random: &mut Random, tag: usize) {
        let operation = &model.operations[tag];
        if !operation.is_repeatable {
            return;
        }
        if operation.stream.starts_with(NOTES) {
            self.append(model, process, tag);
        } else {
            self.send(model, process, &[tag], random);
        }
    }

    /// Sends commands, one or several together.
    fn send(&mut self, model: &mut Model, process: &Process, tags: &[usize], random: &mut Random) {
        let asked = tags.iter().map(|&tag| attempt(model, tag)).collect();
        let handle = process.accounts.clone();
        let command = |tag: usize| {
            let operation = &model.operations[tag];
            let id = CommandId(Uuid::from_u128(tag as u128 + 1));
            BulkCommand {
                id: operation.stream.trim_start_matches("account-").into(),
                command: Command::Move {
                    tag: tag as u64,
                    by: operation.by.clone(),
                },
                options: CommandOptions {
                    expected: operation.expected,
                    id: operation.is_repeatable.then_some(id),
                    ..CommandOptions::default()
                },
            }
        };
        let mut commands: Vec<_> = tags.iter().map(|&tag| command(tag)).collect();
        let tries = random.below(8) == 0;
        let answer = Box::pin(async move {
            if commands.len() > 1 {
                return Answer::Commands(handle.send_bulk(commands).await);
            }
            let BulkCommand {
                id,
                command,
                options,
            } = commands.remove(0);
            let answer = if tries {
                let tried = handle.try_send_with(&id, command, options).await;
                tried.map_err(|refused| refused.error)
            } else {
                handle.send_with(&id, command, options).await
            };
            Answer::Commands(vec![answer])
        });
        self.pending.push(Pending { asked, answer });
    }

    /// A command that nothing comes of, or that panics.
    fn look(&mut self, model: &Model, process: &Process, random: &mut Random) {
        let (handle, id) = (process.accounts.clone(), random.below(STREAMS).to_string());
        let stream = format!("account-{id}");
        let kind = random.below(8);
        let asked = Asked {
            attempt: None,
            floor: model.known(&stream),
            stream,
            expected: Expected::Any,
        };
        let answer = Box::pin(async move {
            let command = match kind {
                0 => Command::Panic,
                1 | 2 => Command::Break,
                _ => Command::Look,
            };
            Answer::Commands(vec![handle.send(&id, command).await])
        });
        self.pending.push(Pending {
            asked: vec![asked],
            answer,
        });
    }

    fn append(&mut self, model: &mut Model, process: &Process, tag: usize) {
        let asked = vec![attempt(model, tag)];
        let operation = &model.operations[tag];
        let of = operation.by.len() as u8;
        let is_repeatable = operation.is_repeatable;
        let event = |part| {
            let tag = tag as u64;
            let payload = serde_json::to_vec(&Note { tag, part, of }).unwrap();
            let event = NewEvent::json("noted", payload);
            let id = Uuid::from_u128((1 << 120) | (u128::from(tag) << 8) | u128::from(part));
            if is_repeatable {
                event.with_id(EventId(id))
            } else {
                event
            }
        };
        let events: Vec<_> = (0..of).map(event).collect();
        let stream: StreamId = operation.stream.parse().unwrap();
        let (appender, expected) = (process.appender.clone(), operation.expected);
        let answer =
            Box::pin(
                async move { Answer::Append(appender.append(stream, expected, events).await) },
            );
        self.pending.push(Pending { asked, answer });
    }

    /// Decides about a dead letter, if there is one that waits for it.
    pub(crate) fn decide(&mut self, process: &Process, random: &mut Random, may_discard: bool) {
        let letters = process.store.dead_letters(None, None, 100).unwrap();
        let open: Vec<_> = letters
            .iter()
            .filter_map(|letter| order(process, letter))
            .collect();
        if open.is_empty() || self.pending.len() >= PENDING_MAX {
            return;
        }
        let order = open[random.below(open.len() as u64) as usize].clone();
        let partitions = process.accounts.partitions();
        let stream = LetterDecision::stream(order.log_partition(partitions), partitions).unwrap();
        let decision = if may_discard && random.below(3) == 0 {
            LetterDecision::Discarded(order)
        } else {
            LetterDecision::Redriven(order)
        };
        let (appender, letters) = (process.appender.clone(), process.letters.clone());
        let asked = Asked {
            attempt: None,
            floor: 0,
            stream: stream.as_str().to_owned(),
            expected: Expected::Any,
        };
        let answer = Box::pin(async move {
            let events = vec![NewEvent::typed(decision)];
            let appended = appender.append(stream, Expected::Any, events).await;
            letters.announce();
            Answer::Append(appended)
        });
        self.pending.push(Pending {
            asked: vec![asked],
            answer,
        });
    }
}

/// An order about a letter that waits for one; its reason is the operation and the part that failed.
fn order(process: &Process, letter: &DeadLetter) -> Option<LetterOrder> {
    if letter.kind.category == Account::CATEGORY {
        if letter.status != DeadLetterStatus::Dead {
            return None;
        }
        let event = process.event_of(letter)?;
        let AccountEvent::Moved { tag, part, .. } = event;
        return LetterOrder::of(letter, "somebody", &format!("{tag}.{part}"));
    }
    let is_open = matches!(
        process.letters.standing(letter.id()),
        LetterStanding::Open { redrives } if redrives == letter.redrives
    );
    if !is_open {
        return None;
    }
    let item: Item = serde_json::from_slice(&letter.payload).unwrap();
    let reason = format!("{}.{}", item.tag, item.part);
    LetterOrder::of_item(letter, "dataflow sums", "somebody", &reason)
}

fn expectation(model: &Model, stream: &str, random: &mut Random) -> Expected {
    match random.below(6) {
        0 => Expected::NoStream,
        1 => Expected::Exists,
        2 | 3 => model
            .known(stream)
            .checked_sub(1 + random.below(2))
            .map_or(Expected::NoStream, Expected::Exact),
        _ => Expected::Any,
    }
}

/// A new operation on an account; gives its number.
fn command(model: &mut Model, random: &mut Random) -> usize {
    let stream = format!("account-{}", random.below(STREAMS));
    let count = 1 + random.below(3);
    let by = (0..count).map(|_| random.below(60) as i64 - 25).collect();
    let is_repeatable = random.below(4) > 0;
    let expected = if random.below(3) == 0 {
        expectation(model, &stream, random)
    } else {
        Expected::Any
    };
    new(model, stream, by, is_repeatable, expected)
}

/// A new append; gives its number. It can be repeated if it says which version it expects.
fn note(model: &mut Model, random: &mut Random) -> usize {
    let stream = format!("{NOTES}-{}", random.below(STREAMS));
    let by = vec![0; 1 + random.below(3) as usize];
    let expected = expectation(model, &stream, random);
    let is_known = matches!(expected, Expected::NoStream | Expected::Exact(_));
    new(model, stream, by, is_known, expected)
}

fn new(
    model: &mut Model,
    stream: String,
    by: Vec<i64>,
    is_repeatable: bool,
    expected: Expected,
) -> usize {
    // Letters name an operation's event, of which there must not be two then.
    let tag = model.operations.len() as u64;
    let is_failing = tag.is_multiple_of(UNLUCKY) || tag.is_multiple_of(UNLUCKY_ITEMS);
    let may_repeat = model.dedup == DedupLimits::default() || !is_failing;
    let is_repeatable = is_repeatable && may_repeat;
    model.operations.push(Operation {
        stream,
        by,
        is_repeatable,
        expected,
        life: model.life,
        outcomes: Vec::new(),
    });
    model.operations.len() - 1
}

fn attempt(model: &mut Model, tag: usize) -> Asked {
    let stream = model.operations[tag].stream.clone();
    let floor = model.known(&stream);
    let operation = &mut model.operations[tag];
    operation.outcomes.push(Outcome::Unknown);
    Asked {
        attempt: Some((tag, operation.outcomes.len() - 1)),
        stream,
        expected: operation.expected,
        floor,
    }
}

fn ended(model: &mut Model, asked: &Asked, outcome: Outcome) {
    if let Some((tag, attempt)) = asked.attempt {
        model.operations[tag].outcomes[attempt] = outcome;
    }
}

fn conflicted(model: &mut Model, asked: &Asked, conflict: &Conflict) {
    let events = conflict.actual.map_or(0, |version| version + 1);
    assert!(asked.expected.check(events).is_err(), "{conflict} is none");
    model.told(&asked.stream, events, asked.floor);
    ended(model, asked, Outcome::Refused);
}

fn command_answered(model: &mut Model, asked: &Asked, answer: CommandResult<Account>) {
    match answer {
        Ok(ack) => {
            let events = ack.version.map_or(0, |version| version + 1);
            let floor = if ack.is_repeat {
                0
            } else {
                asked.floor + u64::from(ack.events)
            };
            model.told(&asked.stream, events, floor);
            if let (Some(version), Some(position), true) =
                (ack.version, ack.position, ack.events > 0)
            {
                let is_of_before = |(tag, _): (usize, _)| model.operations[tag].life < model.life;
                let is_remembered = ack.is_repeat && asked.attempt.is_some_and(is_of_before);
                add(&TALLY.remembered, u64::from(is_remembered));
                ended(model, asked, Outcome::Done { version, position });
            }
        }
        Err(CommandError::Rejected(rejection)) => {
            assert!(rejection.balance >= 0);
            model.told(&asked.stream, rejection.moves, asked.floor);
            ended(model, asked, Outcome::Refused);
        }
        Err(CommandError::Conflict(conflict)) => conflicted(model, asked, &conflict),
        Err(CommandError::Panicked { .. } | CommandError::Overloaded | CommandError::Closed) => {
            ended(model, asked, Outcome::Refused);
        }
        Err(CommandError::OutcomeUnknown { .. }) => {}
        Err(other) => panic!("{}: {other}", asked.stream),
    }
}

fn append_answered(model: &mut Model, asked: &Asked, answer: Result<Appended, AppendError>) {
    match answer {
        Ok(appended) => {
            let (version, position) = (appended.last_version, appended.position);
            model.told(&asked.stream, version + 1, 0);
            ended(model, asked, Outcome::Done { version, position });
        }
        Err(AppendError::Conflict(conflict)) => conflicted(model, asked, &conflict),
        Err(AppendError::Overloaded | AppendError::Closed) => {
            ended(model, asked, Outcome::Refused);
        }
        Err(AppendError::OutcomeUnknown { .. }) => {}
        Err(other) => panic!("{}: {other}", asked.stream),
    }
}
