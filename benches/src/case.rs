//! One case's result: conditions, figures, and the machine's figures of the moment.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::Machine;

/// Width of the name column of a readable line.
const NAME_WIDTH: usize = 34;

/// The result of one case. Keys keep the order in which they were added.
#[derive(Clone, Debug)]
pub struct Case {
    suite: &'static str,
    name: String,
    conditions: Map<String, Value>,
    figures: Map<String, Value>,
    series: Map<String, Value>,
    machine: Map<String, Value>,
}

impl Case {
    /// A case of a suite, measured beside `machine`.
    #[must_use]
    pub fn new(suite: &'static str, name: impl Into<String>, machine: Machine) -> Self {
        let mut figures = Map::new();
        figures.insert("fdatasync_us".to_owned(), number(machine.fdatasync_us));
        figures.insert(
            "disk_mb_per_second".to_owned(),
            number(machine.disk_mb_per_second),
        );
        figures.insert("cores".to_owned(), machine.cores.into());
        Self {
            suite,
            name: name.into(),
            conditions: Map::new(),
            figures: Map::new(),
            series: Map::new(),
            machine: figures,
        }
    }

    /// Adds a condition: what was the case while it was measured.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.conditions.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a figure, its unit in `key`. Rounded to four digits: there are never more in a measurement.
    #[must_use]
    pub fn figure(mut self, key: &str, value: f64) -> Self {
        self.figures.insert(key.to_owned(), number(value));
        self
    }

    /// Adds figures of one kind over the course of the case, its unit in `key`. In the JSON alone: they are for a plot.
    #[must_use]
    pub fn series(mut self, key: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let values = values.into_iter().map(number).collect();
        self.series.insert(key.to_owned(), Value::Array(values));
        self
    }

    /// Adds what a formula says, what was measured, and how far off the formula is (0.1: ten per cent).
    #[must_use]
    pub fn compare(self, quantity: &str, expected: f64, measured: f64) -> Self {
        let error = if measured == expected {
            0.0
        } else {
            (measured - expected) / expected
        };
        self.figure(&format!("{quantity}_expected"), expected)
            .figure(&format!("{quantity}_measured"), measured)
            .figure(&format!("{quantity}_relative_error"), error)
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> &'static str {
        self.suite
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A figure, a condition that is a number, or a figure of the machine; `None` if there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<f64> {
        let found = [&self.figures, &self.conditions, &self.machine]
            .into_iter()
            .find_map(|map| map.get(key));
        found.and_then(Value::as_f64)
    }

    /// Names and values of the figures, in order.
    pub fn figures(&self) -> impl Iterator<Item = (&str, f64)> {
        self.figures
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_f64().unwrap_or(f64::NAN)))
    }

    /// One JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut all = Map::new();
        all.insert("suite".to_owned(), self.suite.into());
        all.insert("case".to_owned(), self.name.clone().into());
        for part in [&self.conditions, &self.figures, &self.series, &self.machine] {
            all.extend(part.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Value::Object(all)
    }

    /// One line for people: the name, figures, then conditions and machine in brackets.
    #[must_use]
    pub fn line(&self) -> String {
        let name = format!("{}/{}", self.suite, self.name);
        let mut line = format!("{name:<NAME_WIDTH$}");
        for (key, value) in &self.figures {
            let _ = write!(line, "  {key} {:<11}", readable(value));
        }
        let rest: Vec<_> = self
            .conditions
            .iter()
            .chain(&self.machine)
            .map(|(key, value)| format!("{key} {}", readable(value)))
            .collect();
        let _ = write!(line, "  [{}]", rest.join(", "));
        line
    }
}

/// Four significant digits; whole numbers from a thousand on.
fn number(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    if value.abs() >= 1_000.0 {
        return (value.round() as i64).into();
    }
    let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
    rounded.into()
}

/// A number with its thousands apart, a text as it is.
fn readable(value: &Value) -> String {
    let Some(whole) = value.as_i64() else {
        return value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
    };
    let digits = whole.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if whole < 0 { format!("-{out}") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let machine = Machine {
            fdatasync_us: 371.3,
            commit_us: 700.0,
            disk_mb_per_second: 380.0,
            cores: 2,
        };
        Case::new("commands", "one", machine)
            .with("callers", 1_024)
            .figure("commands_per_second", 484_123.4)
            .figure("p50_us", 12.345_67)
    }

    #[test]
    fn json_holds_everything_in_order() {
        let expected = r#"{"suite":"commands","case":"one","callers":1024,"commands_per_second":484123,"p50_us":12.35,"fdatasync_us":371.3,"disk_mb_per_second":380.0,"cores":2}"#;
        assert_eq!(case().json().to_string(), expected);
    }

    #[test]
    fn a_line_can_be_read() {
        let line = case().line();
        assert!(line.starts_with("commands/one  "), "{line}");
        assert!(line.contains("commands_per_second 484,123"), "{line}");
        assert!(line.ends_with("cores 2]"), "{line}");
    }

    #[test]
    fn a_series_is_in_the_json_alone() {
        let case = case().series("resident_mb", [1.5, 2_000.4]);
        assert_eq!(case.json()["resident_mb"].to_string(), "[1.5,2000]");
        assert!(!case.line().contains("resident_mb"));
    }

    #[test]
    fn a_comparison_has_its_relative_error() {
        let compared = case().compare("ratio", 2.0, 1.5);
        assert_eq!(compared.get("ratio_relative_error"), Some(-0.25));
        assert_eq!(
            case().compare("none", 0.0, 0.0).get("none_relative_error"),
            Some(0.0)
        );
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert_eq!(case().figure("x", f64::NAN).json()["x"], Value::Null);
    }
}
