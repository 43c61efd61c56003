//! Values that are shared by number and freed when nobody holds them: a shared buffer that can be stored.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held<V> {
    value: V,
    holders: u32,
}

/// Numbered values, each with a count of holders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Arena<V> {
    values: Vec<Option<Held<V>>>,
    free: Vec<u32>,
}

impl<V> Default for Arena<V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<V> Arena<V> {
    /// Adds a value with one holder.
    pub(super) fn add(&mut self, value: V) -> u32 {
        let held = Some(Held { value, holders: 1 });
        if let Some(number) = self.free.pop() {
            self.values[number as usize] = held;
            return number;
        }
        self.values.push(held);
        (self.values.len() - 1) as u32
    }

    pub(super) fn get(&self, number: u32) -> &V {
        let held = self.values[number as usize].as_ref();
        &held.expect("a number is used only while it is held").value
    }

    /// One more holder.
    pub(super) fn hold(&mut self, number: u32) {
        if let Some(held) = &mut self.values[number as usize] {
            held.holders += 1;
        }
    }

    /// One holder less; gives the value if that was the last.
    pub(super) fn release(&mut self, number: u32) -> Option<V> {
        let place = &mut self.values[number as usize];
        let held = place.as_mut()?;
        held.holders -= 1;
        if held.holders > 0 {
            return None;
        }
        self.free.push(number);
        place.take().map(|held| held.value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == self.free.len()
    }
}
