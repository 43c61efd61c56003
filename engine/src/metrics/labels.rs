//! Makes handles that share their labels.

use metrics::{Counter, Gauge, Histogram, Label};

use crate::event::PartitionId;

/// The labels of one handle struct; most are used up while it is made.
#[derive(Clone, Debug)]
pub(super) struct Labels(Vec<Label>);

impl Labels {
    /// For what an engine has one of.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn partition(partition: PartitionId) -> Self {
        Self(vec![Label::new("partition", partition.to_string())])
    }

    /// A named part of a topology and its partition. `key` is `stage`, `category` or `projection`.
    pub(super) fn named(key: &'static str, name: &str, partition: PartitionId) -> Self {
        Self(vec![
            Label::new(key, name.to_owned()),
            Label::new("partition", partition.to_string()),
        ])
    }

    /// The same and one more.
    pub(super) fn and(&self, key: &'static str, name: &str) -> Self {
        let mut labels = self.0.clone();
        labels.push(Label::new(key, name.to_owned()));
        Self(labels)
    }

    pub(super) fn version(projection: &str, version: u32) -> Self {
        Self(vec![
            Label::new("projection", projection.to_owned()),
            Label::new("version", version.to_string()),
        ])
    }

    pub(super) fn derived(projection: &str, name: &str) -> Self {
        Self(vec![
            Label::new("projection", projection.to_owned()),
            Label::new("derived", name.to_owned()),
        ])
    }

    pub(super) fn outbox(projection: &str, name: &str) -> Self {
        Self(vec![
            Label::new("projection", projection.to_owned()),
            Label::new("outbox", name.to_owned()),
        ])
    }

    pub(super) fn dataflow(name: &str) -> Self {
        Self(vec![Label::new("dataflow", name.to_owned())])
    }

    pub(super) fn counter(&self, name: &'static str) -> Counter {
        metrics::counter!(name, self.0.clone())
    }

    pub(super) fn gauge(&self, name: &'static str) -> Gauge {
        metrics::gauge!(name, self.0.clone())
    }

    pub(super) fn histogram(&self, name: &'static str) -> Histogram {
        metrics::histogram!(name, self.0.clone())
    }
}
