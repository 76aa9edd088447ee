//! The tables of a report as Markdown, for a README.

use std::fmt::Write;

use super::Report;
use super::text::number;

/// `report` as Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = format!("## {}\n\n{}\n\n{}\n", report.name, report.about, report.machine.line());
    if !report.settings.is_empty() {
        out.push('\n');
    }
    for (name, value) in &report.settings {
        let _ = writeln!(out, "- {name}: {value}");
    }
    for table in &report.tables {
        let _ = writeln!(out, "\n### {}\n\n| {} |", table.title, table.columns.join(" | "));
        let _ = writeln!(out, "|{}", "---|".repeat(table.columns.len()));
        for row in &table.rows {
            let _ = writeln!(out, "| {} |", row.join(" | "));
        }
    }
    if !report.figures.is_empty() {
        let _ = writeln!(out, "\n| | | goal |\n|---|---|---|");
    }
    for it in &report.figures {
        let value = format!("{} {}", number(it.value), it.unit);
        let _ = writeln!(out, "| {} | {} | {} |", it.name, value.trim_end(), it.bound());
    }
    if !(report.skipped.is_empty() && report.notes.is_empty()) {
        out.push('\n');
    }
    for note in report.skipped.iter().chain(&report.notes) {
        let _ = writeln!(out, "- {note}");
    }
    out
}
