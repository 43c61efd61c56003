//! A checkpoint that takes too long.

use std::time::Duration;

use super::Coordinator;
use super::progress::Progress;

impl Coordinator {
    /// It takes too long: barriers may still come, and count for nothing but what they bring.
    pub(super) fn give_up(&mut self, now: Duration) -> Result<(), String> {
        let missing = self.missing();
        let cause = format!(
            "checkpoint {} was not complete after {} ms: waiting for {missing}",
            self.epoch, self.options.timeout_ms
        );
        tracing::warn!(cause, "a checkpoint is given up");
        self.metrics.count_failed();
        self.failures += 1;
        self.rested_since = now;
        self.answered = self.asked;
        self.partitions().for_each(Progress::gave_up);
        let answered = self.answered;
        self.control.tell(|status| {
            status.failed += 1;
            status.answered = answered;
            status.failure = Some(cause.clone());
        });
        match self.options.failures_max {
            Some(max) if self.failures > max => Err(format!(
                "{} checkpoints in a row were given up; the last: {cause}",
                self.failures
            )),
            _ => Ok(()),
        }
    }

    /// Who has not come to the barrier.
    fn missing(&self) -> String {
        let mut names = Vec::new();
        for (stage, progress) in self.stages.iter().zip(&self.progress) {
            for (partition, progress) in progress.iter().enumerate() {
                if !progress.has_given(self.epoch) {
                    names.push(format!("{}/{partition}", stage.name));
                }
            }
        }
        match names.len() {
            0 => "the disk".to_owned(),
            1..=4 => names.join(", "),
            more => format!("{} and {} others", names[..3].join(", "), more - 3),
        }
    }
}
