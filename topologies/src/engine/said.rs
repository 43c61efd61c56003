//! What is looked at once a second and is bad for long: said at the first look, and seldom from then on.

/// Looks between two lines about the same.
const SAID_EVERY: u32 = 60;

/// How long something has been bad.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// At so many looks in a row.
    looks: u32,
}

impl Said {
    /// It is bad at this look: whether that is to be said.
    pub(super) const fn is_due(&mut self) -> bool {
        let is_due = self.looks.is_multiple_of(SAID_EVERY);
        self.looks = self.looks.saturating_add(1);
        is_due
    }

    /// It is not bad: the next time that it is, it is said at once.
    pub(super) const fn is_over(&mut self) {
        self.looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_bad_is_said_once_in_so_many_looks() {
        let mut said = Said::default();
        let said_at = |said: &mut Said| (0..130).filter(|_| said.is_due()).count();
        assert_eq!(said_at(&mut said), 3);
        assert!(!said.is_due());
        said.is_over();
        assert!(said.is_due());
        assert!(!said.is_due());
    }
}
