//! Outboxes against plain models of them.
