//! The summary of a shop run as tables for people.

use std::io::Write;

use anyhow::Result;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use crate::catalog::shop::ShopReport;

/// Countries shown.
const COUNTRIES: usize = 8;

/// Prints all of it.
pub(super) fn print(report: &ShopReport, out: &mut impl Write) -> Result<()> {
    writeln!(out, "{}", figures(report))?;
    if !report.countries.is_empty() {
        writeln!(out, "\n{}", countries(report))?;
    }
    writeln!(out, "\n{}", dirt(report))?;
    for bad in &report.unreadable_first {
        writeln!(out, "cannot be read: {bad}")?;
    }
    for line in &report.counts.rejected_first {
        writeln!(out, "rejected: line {}: {}", line.line, line.reason)?;
    }
    if !report.checks.is_empty() {
        let hold = report.checks.iter().filter(|check| check.ok).count();
        writeln!(out, "\n{}", checks(report))?;
        writeln!(out, "{hold} of {} checks hold", report.checks.len())?;
    }
    Ok(())
}

fn table(header: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for &place in right {
        if let Some(column) = table.column_mut(place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn figures(report: &ShopReport) -> Table {
    let counts = &report.counts;
    let mut table = table(&["shop", ""], &[1]);
    let seconds = |time: std::time::Duration| format!("{:.2} s", time.as_secs_f64());
    let mut row = |name: &str, value: String| {
        table.add_row([name, &value]);
    };
    row("input", report.input.display().to_string());
    row("data", report.data.display().to_string());
    row("partitions", report.partitions.to_string());
    row("lines read", grouped(report.lines));
    row("lines that cannot be read", grouped(report.unreadable));
    if report.begun_behind > 0 {
        let line = grouped(report.begun_behind);
        row(
            "sent by an earlier run, not again",
            format!("up to line {line}"),
        );
    }
    row("commands", grouped(counts.commands));
    row("  accepted", grouped(counts.accepted));
    row("  repeats of an earlier run", grouped(counts.repeats));
    row(
        "  refunds without a purchase, rejected and recorded",
        grouped(counts.unmatched_refunds),
    );
    row(
        "  rejected for other reasons",
        grouped(counts.other_rejections),
    );
    row("events, durable", grouped(counts.events));
    row(
        "time until all is durable",
        seconds(report.seconds.commands),
    );
    row(
        "time until all tables show it",
        seconds(report.seconds.tables),
    );
    row("time of the dataflows", seconds(report.seconds.dataflows));
    row(
        "commands per second",
        grouped(report.commands_per_second() as u64),
    );
    row(
        "events per second, into tables",
        grouped(report.events_per_second() as u64),
    );
    if report.live_dataflows {
        let watermark = report.watermark.map_or_else(
            || "nothing yet".to_owned(),
            |watermark| format!("up to {watermark}"),
        );
        row("dataflows go on, complete", watermark);
    }
    row("revenue", format!("£ {}", report.revenue()));
    table
}

fn countries(report: &ShopReport) -> Table {
    let mut table = table(&["largest countries", "lines", "revenue"], &[1, 2]);
    for (country, row) in report.countries.iter().take(COUNTRIES) {
        table.add_row([country, &grouped(row.lines), &format!("£ {}", row.amount)]);
    }
    table
}

fn dirt(report: &ShopReport) -> Table {
    let mut table = table(&["dirt (--list KIND)", "lines", "a line with it"], &[1]);
    for (dirt, finding) in &report.dirt {
        table.add_row([dirt.name(), &grouped(finding.count), dirt.rule()]);
    }
    table
}

fn checks(report: &ShopReport) -> Table {
    let mut table = table(&["check", "expected", "found", ""], &[1, 2]);
    for check in &report.checks {
        let verdict = if check.ok { "holds" } else { "FAILS" };
        table.add_row([check.name, &check.expected, &check.found, verdict]);
    }
    table
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
