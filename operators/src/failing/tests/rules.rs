//! Single rules, each in a small example.
