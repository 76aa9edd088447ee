//! A report for a terminal: plain text without colours.

use std::fmt::Write;

use super::section::{Latency, Section};
use super::{Limit, Report, Table, Weight};

/// `report` as text.
pub(crate) fn text(report: &Report) -> String {
    let mut out = format!("\n{}: {}\n", report.name, report.about);
    let _ = writeln!(out, "{}", report.machine.line());
    for (name, value) in &report.settings {
        let _ = writeln!(out, "{name}: {value}");
    }
    for section in &report.sections {
        write_section(&mut out, section);
    }
    for table in &report.tables {
        write_table(&mut out, table);
    }
    if !report.figures.is_empty() {
        out.push('\n');
    }
    for it in &report.figures {
        let mark = match (it.limit, it.holds(), it.weight) {
            (Limit::None, ..) => ' ',
            (_, true, _) => '✓',
            (_, false, Weight::Correct) => '✗',
            (_, false, Weight::Speed) => '!',
        };
        let value = format!("{} {}", number(it.value), it.unit);
        let line = format!("{mark} {:<58}{:>14}   {}", it.name, value.trim_end(), it.bound());
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for reason in &report.skipped {
        let _ = writeln!(out, "skipped: {reason}");
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn write_section(out: &mut String, section: &Section) {
    let _ = writeln!(out, "\n{} · {}/s · {}", section.name, grouped(section.rate), section.plan);
    let counts = section.counts.iter();
    let counts: Vec<_> = counts.map(|(name, count)| format!("{name} {}", digits(*count))).collect();
    if !counts.is_empty() {
        let _ = writeln!(out, "  {}", counts.join(" · "));
    }
    if !section.latencies.is_empty() {
        let names = ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>11}"));
        let _ = writeln!(out, "  {:<9}{}", "ms", names.concat());
    }
    for Latency { kind, p50, p90, p99, p999, max } in &section.latencies {
        let cells = [p50, p90, p99, p999, max].map(|value| format!("{value:>11.3}"));
        let _ = writeln!(out, "  {kind:<9}{}", cells.concat());
    }
    let own = &section.own;
    let _ = write!(
        out,
        "  generator: busy {:.0}%, displaced {:.0}%, sent late {:.2}%, 99 of 100 within {:.3} ms",
        own.busy * 100.0,
        own.displaced * 100.0,
        own.late * 100.0,
        own.lag_p99_ms
    );
    let _ = match &own.limit {
        Some(limit) => writeln!(out, "\n  not trustworthy: {limit}"),
        None => writeln!(out, ": trustworthy"),
    };
}

fn write_table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "\n{}", table.title);
    let lines = || std::iter::once(&table.columns).chain(&table.rows);
    let cells = |nth: usize| lines().filter_map(move |line| line.get(nth));
    let width = |nth: usize| cells(nth).map(|cell| cell.chars().count()).max().unwrap_or(0);
    for line in lines() {
        let mut row = String::new();
        for (nth, cell) in line.iter().enumerate() {
            let width = width(nth);
            let _ = match nth {
                0 => write!(row, "  {cell:<width$}"),
                _ => write!(row, "  {cell:>width$}"),
            };
        }
        let _ = writeln!(out, "{}", row.trim_end());
    }
}

/// A number with as many digits as it deserves.
pub(super) fn number(value: f64) -> String {
    if value.abs() >= 1000.0 || value.fract().abs() < 1e-9 {
        grouped(value)
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// A whole number in groups of three digits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers for people")]
pub(crate) fn grouped(value: f64) -> String {
    let sign = if value <= -0.5 { "-" } else { "" };
    format!("{sign}{}", digits(value.abs().round() as u64))
}

/// A count in groups of three digits.
pub(super) fn digits(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
