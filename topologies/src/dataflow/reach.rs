//! What reaches a stage from those before it: which sources, and what is not the same at each start.
//!
//! Place: part of the checks of `build`. What varies in order only is forgiven where a window, or another operator
//! that gives its results in the order of event time, stands between, unless one before that makes other items of
//! another order. A function that depends on the order of its items can then still give other results, which nobody can
//! tell here. A source whose end moves is no fault by itself:
//! only where the end of the input makes an operator give something out.

use super::check::DataflowFault;
use super::flow::{Draft, StageId};
use super::site::{InTime, Note, Varies};

/// What may come out of a stage.
#[derive(Clone, Debug, Default)]
struct Reaching {
    /// Numbers of sources.
    sources: Vec<usize>,
    /// Those that have a say in what time it is.
    in_time: Vec<usize>,
    varies: Vec<Varies>,
}

impl Reaching {
    fn add(&mut self, other: &Self, is_timeless: bool) {
        add_all(&mut self.sources, &other.sources);
        if !is_timeless {
            add_all(&mut self.in_time, &other.in_time);
        }
        for varies in &other.varies {
            self.vary(varies.clone());
        }
    }

    fn vary(&mut self, varies: Varies) {
        let mut known = self.varies.iter_mut();
        let is_same =
            |known: &&mut Varies| known.place == varies.place && known.reason == varies.reason;
        match known.find(is_same) {
            Some(known) => known.only_order &= varies.only_order,
            None => self.varies.push(varies),
        }
    }

    /// Passes an operator that makes other items of another order.
    fn pass_by_arrival(&mut self) {
        for varies in &mut self.varies {
            varies.only_order = false;
        }
    }

    /// Passes an operator that goes by event time.
    fn pass(&mut self, draft: &Draft, operator: &InTime) {
        if operator.orders {
            self.varies.retain(|varies| !varies.only_order);
        }
        for &number in &self.in_time.clone() {
            let source = &draft.sources[number];
            let name = &source.name;
            let place = &operator.place;
            if source.notes.end_moves && operator.at_end {
                self.vary(Varies {
                    place: place.clone(),
                    reason: format!(
                        "the end of source {name:?} makes it give out what is not complete, and at the next start \
                         that end may be further on: let the source run on, without .until_durable_end()"
                    ),
                    only_order: false,
                });
            }
            if source.may_be_idle && !source.notes.has_watermark {
                self.vary(Varies {
                    place: place.clone(),
                    reason: format!(
                        "what source {name:?} brings after a silence may be late, by the engine's clock: leave out \
                         .idle_after(…)"
                    ),
                    only_order: false,
                });
            }
        }
    }
}

fn add_all(numbers: &mut Vec<usize>, others: &[usize]) {
    for &number in others {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
}

/// What comes out of each stage; nothing for those in a cycle, which is a fault of its own.
struct Reached {
    stages: Vec<Option<Reaching>>,
}

impl Reached {
    fn out_of(
        &mut self,
        draft: &Draft,
        stage: StageId,
        faults: &mut Vec<DataflowFault>,
    ) -> Reaching {
        if let Some(known) = &self.stages[stage] {
            return known.clone();
        }
        self.stages[stage] = Some(Reaching::default());
        let site = &draft.stages[stage].site;
        let mut reaching = Reaching::default();
        reaching.sources.extend(site.source);
        reaching.in_time.extend(site.source);
        for &input in &site.inputs {
            if let Some(from) = draft.edges[input].from {
                let before = self.out_of(draft, from, faults);
                reaching.add(&before, site.timeless.contains(&input));
            }
        }
        for note in &site.notes {
            match note {
                Note::Varies(varies) => reaching.vary(varies.clone()),
                Note::ByArrival => reaching.pass_by_arrival(),
                Note::InTime(operator) => {
                    if operator.needs_watermark {
                        faults.extend(without_watermark(draft, &reaching, operator));
                    }
                    reaching.pass(draft, operator);
                }
            }
        }
        self.stages[stage] = Some(reaching.clone());
        reaching
    }
}

fn without_watermark(
    draft: &Draft,
    reaching: &Reaching,
    operator: &InTime,
) -> impl Iterator<Item = DataflowFault> {
    let sources = reaching
        .in_time
        .iter()
        .map(|&number| &draft.sources[number]);
    let endless = sources.filter(|source| {
        let has_watermark = source.notes.has_watermark || source.has_policy;
        source.notes.is_endless && !has_watermark
    });
    endless.map(|source| DataflowFault::NoWatermark {
        place: operator.place.clone(),
        source_name: source.name.clone(),
    })
}

/// Faults that show only along the way from sources to sinks.
pub(super) fn check(draft: &Draft, faults: &mut Vec<DataflowFault>) {
    let mut reached = Reached {
        stages: vec![None; draft.stages.len()],
    };
    for (number, stage) in draft.stages.iter().enumerate() {
        let reaching = reached.out_of(draft, number, faults);
        let Some(producer) = &stage.site.producer else {
            continue;
        };
        if stage.site.lets_out {
            continue; // What it appends is in a checkpoint before.
        }
        let sink = format!("log sink {producer:?}");
        let sources = reaching
            .sources
            .iter()
            .map(|&number| &draft.sources[number]);
        for source in sources.filter(|source| !source.notes.is_repeatable) {
            faults.push(DataflowFault::NotRepeatable {
                sink: sink.clone(),
                source_name: source.name.clone(),
            });
        }
        for Varies { place, reason, .. } in reaching.varies {
            faults.push(DataflowFault::NotDeterministic {
                sink: sink.clone(),
                place,
                reason,
            });
        }
    }
}
