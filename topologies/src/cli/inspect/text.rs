//! Texts and tables for a terminal.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

/// A table without lines: columns that a person can read and `awk` can split. Never wider or narrower
/// because of the terminal.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table
}

/// A cell with a number, aligned to the right.
pub(super) fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// The text on one line, without control characters, at most `chars_max` characters.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// JSON on one line, in which control characters are escaped: `serde_json` leaves those that are no ASCII as they are, and terminals
/// heed some.
pub(super) fn json_line(json: &impl std::fmt::Display) -> String {
    let json = json.to_string();
    if !json.contains(char::is_control) {
        return json;
    }
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match c.is_control() {
            true => line.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => line.push(c),
        }
    }
    line
}

/// A duration by its two largest units: `3d 4h`, `12s`.
pub(super) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units() {
        let age = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(age(0), "0s");
        assert_eq!(age(61), "1m 1s");
        assert_eq!(age(3_600), "1h 0m");
        assert_eq!(age(90_000), "1d 1h");
    }

    #[test]
    fn texts_are_cut_and_tamed() {
        assert_eq!(one_line("a\nb\u{1b}[31m", 20), "a b [31m");
        assert_eq!(one_line("abcdef", 4), "abc…");
        assert_eq!(one_line("abcd", 4), "abcd");
    }

    #[test]
    fn json_has_no_control_characters_and_is_the_same() {
        let value = serde_json::json!({ "k\u{9b}31m": ["\u{7f}", "\n", "é\u{85}"] });
        let line = json_line(&value);
        assert!(!line.contains(char::is_control), "{line}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&line).unwrap(),
            value
        );
    }
}
