//! One stream becomes several, and streams that steer others.

use std::hash::Hash;
use std::sync::Arc;

use millstream_engine::flow::{Broadcast, Forward, Identity, Operator, Outlet, Then};
use millstream_operators::function::Stored;
use millstream_operators::keyed::BroadcastJoin;
use millstream_operators::stateless::{Choose, Fork, Sample, SampleEvery, Tee, ToAll, ToOne};

use super::check::DataflowFault;
use super::flow::SideOutput;
use super::origin::{InletOrigin, Origin, PairOrigin};
use super::site::{Note, Site};
use super::stream::Stream;

/// One of the streams that a stream was divided into.
pub type Branch<T> = Stream<InletOrigin<T>, Identity>;

impl<P: Origin, O: Operator<P::Item> + Clone> Stream<P, O>
where
    O::Out: Send + 'static,
{
    fn impossible(&self, place: &str, reason: &str) {
        self.flow.fault(DataflowFault::Impossible {
            place: place.to_owned(),
            reason: reason.to_owned(),
        });
    }

    /// Closes the stage with `outputs` outlets; gives what is behind each.
    fn fork<C: Choose<O::Out>>(
        mut self,
        kind: &str,
        outputs: usize,
        choose: C,
    ) -> Vec<Branch<O::Out>> {
        if outputs == 0 {
            self.impossible(kind, "it has no outputs: give it at least one");
        }
        let (flow, partitions) = (self.flow.clone(), self.site.partitions);
        let edges: Vec<_> = (0..outputs)
            .map(|at| flow.edge::<O::Out>(&format!("{kind} {at}"), true))
            .collect();
        self.site.outputs.extend(edges.iter().map(|(id, _)| *id));
        let outlet = |(_, edge): &(usize, _)| Outlet::new(Arc::clone(edge), Forward);
        let outlets = edges.iter().map(outlet).collect();
        self.end(Fork::new(outlets, choose));
        let branch = |(input, edge)| {
            let site = Site::new(kind, partitions, vec![input]).following();
            Stream::new(flow.clone(), InletOrigin::new(vec![edge]), Identity, site)
        };
        edges.into_iter().map(branch).collect()
    }

    /// The items for which `predicate` holds, and the others; both must be read.
    pub fn split<F>(self, predicate: F) -> (Branch<O::Out>, Branch<O::Out>)
    where
        F: Fn(&O::Out) -> bool + Clone + Send + 'static,
    {
        let choose = ToOne(move |item: &O::Out| usize::from(!predicate(item)));
        let mut branches = self.fork("split", 2, choose).into_iter();
        match (branches.next(), branches.next()) {
            (Some(holds), Some(others)) => (holds, others),
            _ => unreachable!("two were asked for"),
        }
    }

    /// Each item to the first predicate that holds for it; the last of the streams, one more than predicates, has
    /// those for which none does. All must be read.
    pub fn branch<F>(self, predicates: Vec<F>) -> Vec<Branch<O::Out>>
    where
        F: Fn(&O::Out) -> bool + Clone + Send + 'static,
    {
        let outputs = predicates.len() + 1;
        let choose = ToOne(move |item: &O::Out| {
            let holds = |predicate: &F| predicate(item);
            predicates
                .iter()
                .position(holds)
                .unwrap_or(predicates.len())
        });
        self.fork("branch", outputs, choose)
    }

    /// Each item to the stream of the number that `route` gives, out of `0..outputs`; another number fails the stage.
    /// All must be read.
    pub fn route<F>(self, outputs: usize, route: F) -> Vec<Branch<O::Out>>
    where
        F: Fn(&O::Out) -> usize + Clone + Send + 'static,
    {
        self.fork("route", outputs, ToOne(route))
    }

    /// The same stream so many times: each reader gets every item. All must be read; the slowest sets the pace.
    pub fn share(self, readers: usize) -> Vec<Branch<O::Out>>
    where
        O::Out: Clone,
    {
        self.fork("share", readers, ToAll)
    }

    /// Gives a copy of each item to a side output on its way.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn tee_to(
        mut self,
        side: &SideOutput<O::Out>,
    ) -> Stream<P, Then<O, Tee<Outlet<O::Out, Forward>>>>
    where
        O::Out: Clone,
    {
        let outlet = side.outlet(&mut self.site);
        self.then(Tee::new(outlet))
    }

    /// A share of the items, `fraction` from 0 to 1: those that a hash of the item and `seed` chooses, the same ones in
    /// every run.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn sample(
        self,
        fraction: f64,
        seed: u64,
    ) -> Stream<P, Then<O, Sample<fn(&O::Out) -> O::Out>>>
    where
        O::Out: Hash + Clone,
    {
        self.sample_by(fraction, seed, O::Out::clone)
    }

    /// The same by what `by` gives of each item: of those that give the same, all or none.
    pub fn sample_by<K, F>(self, fraction: f64, seed: u64, by: F) -> Stream<P, Then<O, Sample<F>>>
    where
        K: Hash,
        F: Fn(&O::Out) -> K + Clone + Send + 'static,
    {
        if !(0.0..=1.0).contains(&fraction) {
            self.impossible("sample", "a fraction lies between 0 and 1");
        }
        self.then(Sample::new(fraction, seed, by))
    }

    /// The first of every `every` items of each partition.
    pub fn sample_every(self, every: u64) -> Stream<P, Then<O, SampleEvery>> {
        if every == 0 {
            self.impossible("sample", "one of every 0 items is none: give at least 1");
        }
        let reason = "which items it takes depends on how they are spread over partitions";
        self.then(SampleEvery::new(every))
            .noted(Note::content("sample_every", reason))
    }

    /// Joins the items with a state that `other` changes: rules, rates, switches.
    ///
    /// All of `other` goes to every partition, where `control` changes a state that begins as `state`; `function` makes
    /// something, or nothing, of each item and the state of the moment. The two are not put in order of event time:
    /// which of two that come at about the same time is first depends on timing. So the watermark is that of the items
    /// alone: `other` may be silent for ever. The stage ends when both have ended.
    #[expect(
        clippy::type_complexity,
        reason = "the operators so far are in the type"
    )]
    pub fn join_broadcast<P2, O2, S, C, F, U>(
        self,
        other: Stream<P2, O2>,
        state: S,
        control: C,
        function: F,
    ) -> Stream<PairOrigin<O::Out, O2::Out>, Then<Identity, BroadcastJoin<S, C, F, U>>>
    where
        P2: Origin,
        O2: Operator<P2::Item> + Clone,
        O2::Out: Clone + Send + 'static,
        S: Stored,
        C: Fn(&mut S, O2::Out) + Clone + Send + 'static,
        F: Fn(&S, O::Out) -> Option<U> + Clone + Send + 'static,
        U: 'static,
    {
        let (flow, partitions) = (self.flow.clone(), self.site.partitions);
        let (left, left_edge) = self.send("broadcast join", Forward);
        let (right, right_edge) = other.send("broadcast", Broadcast);
        let mut site = Site::new("broadcast-join", partitions, vec![left, right]).following();
        let reason = "what its two sides bring at about the same time meets in any order";
        site.notes.push(Note::content("join_broadcast", reason));
        site.timeless.push(right);
        let origin = PairOrigin::new(vec![left_edge], vec![right_edge]).by_time_of_left();
        Stream::new(flow, origin, Identity, site)
            .then(BroadcastJoin::new(state, control, function))
            .with_state("a broadcast join", None)
    }
}
