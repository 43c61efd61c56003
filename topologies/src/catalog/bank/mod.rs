//! The bank.
/// Whole cents.
#[derive(Debug)]
pub struct Cents;
