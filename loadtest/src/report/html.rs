//! Reports as one page: a file that needs no network and no script, light or dark as its reader
//! likes it, with a table beside every drawing and the raw data inside.

use std::fmt::Write;

use super::chart::{self, Line, escape};
use super::section::Section;
use super::text::{digits, grouped, number};
use super::{Figure, Limit, Report, Table, Weight};
use crate::point::Point;

const STYLE: &str = include_str!("page.css");

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>fusebox load tests</title>"#;

/// Rows of a series that are shown as a table; of more, evenly chosen ones.
const ROWS_MAX: usize = 60;

/// `reports` as one page.
pub(crate) fn page(reports: &[Report]) -> String {
    let mut out = format!("{HEAD}\n<style>\n{STYLE}</style></head><body><main>\n");
    out.push_str("<h1>fusebox load tests</h1>\n");
    if reports.len() > 1 {
        out.push_str("<nav><ul>");
        for report in reports {
            let name = escape(&report.name);
            let _ = write!(out, "<li><a href=\"#{name}\">{name}</a></li>");
        }
        out.push_str("</ul></nav>\n");
    }
    for report in reports {
        write_report(&mut out, report);
    }
    // Data, not a script: nothing runs it. No `</` may end it early.
    let data = serde_json::to_string(reports).unwrap_or_default().replace("</", "<\\/");
    let _ = writeln!(out, r#"<script type="application/json" id="data">{data}</script>"#);
    out.push_str("</main></body></html>\n");
    out
}

fn write_report(out: &mut String, report: &Report) {
    let (name, about) = (escape(&report.name), escape(&report.about));
    let (place, when) = (escape(&report.machine.line()), report.machine.unix_seconds);
    let _ = writeln!(out, "<section id=\"{name}\"><h2>{name}</h2><p>{about}</p>");
    let _ = writeln!(out, "<p class=\"soft\">{place}; {when} s since 1970</p>");
    if !report.settings.is_empty() {
        out.push_str("<dl>");
        for (name, value) in &report.settings {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
        out.push_str("</dl>\n");
    }
    if !report.figures.is_empty() {
        write_table(out, &figures(&report.figures));
    }
    for table in &report.tables {
        write_table(out, table);
    }
    for section in &report.sections {
        write_section(out, section);
    }
    for reason in &report.skipped {
        let _ = writeln!(out, "<p class=\"soft\">Skipped: {}</p>", escape(reason));
    }
    for note in &report.notes {
        let _ = writeln!(out, "<p class=\"soft\">{}</p>", escape(note));
    }
    out.push_str("</section>\n");
}

fn figures(figures: &[Figure]) -> Table {
    let row = |it: &Figure| {
        let verdict = match (it.limit, it.holds(), it.weight) {
            (Limit::None, ..) => "",
            (_, true, _) => "holds",
            (_, false, Weight::Correct) => "broken",
            (_, false, Weight::Speed) => "missed",
        };
        let value = format!("{} {}", number(it.value), it.unit);
        vec![it.name.clone(), value, it.bound(), verdict.to_owned()]
    };
    let columns = ["figure", "value", "limit", "verdict"].map(str::to_owned).to_vec();
    Table { title: "Figures".to_owned(), columns, rows: figures.iter().map(row).collect() }
}

fn write_section(out: &mut String, section: &Section) {
    let (name, plan) = (escape(&section.name), escape(&section.plan));
    let rate = grouped(section.rate);
    let _ = writeln!(out, "<section><h3>{name} · {rate}/s</h3><p>{plan}</p>");
    let counts = section.counts.iter();
    let counts: Vec<_> =
        counts.map(|(name, count)| format!("{} {}", escape(name), digits(*count))).collect();
    let _ = writeln!(out, "<p>{}</p>", counts.join(" · "));
    let own = &section.own;
    let (busy, late) = (own.busy * 100.0, own.late * 100.0);
    let _ = match &own.limit {
        Some(limit) => writeln!(out, r#"<p class="broken">Not trustworthy: {}</p>"#, escape(limit)),
        None => writeln!(
            out,
            r#"<p class="soft">Generator: busy {busy:.0}%, sent late {late:.2}%: trustworthy</p>"#
        ),
    };
    let rows = section.latencies.iter().map(|it| {
        let cells = [it.p50, it.p90, it.p99, it.p999, it.max].map(|value| format!("{value:.3}"));
        std::iter::once(it.kind.clone()).chain(cells).collect()
    });
    let title = "Latency from the planned start, ms".to_owned();
    let columns = ["answers", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec();
    write_table(out, &Table { title, columns, rows: rows.collect() });
    if section.series.len() > 1 {
        write_series(out, section);
    }
    out.push_str("</section>\n");
}

fn write_series(out: &mut String, section: &Section) {
    let line = |name, class, value: fn(&Point) -> f64| {
        let points = section.series.iter().map(|point| (point.at_s, value(point))).collect();
        Line { name, class, points }
    };
    let rates = [
        line("good", "l1", |point| point.good),
        line("refused", "l2", |point| point.refused),
        line("bad", "l3", |point| point.bad),
    ];
    let times = [
        line("p50", "l1", |point| point.p50_ms),
        line("p99", "l2", |point| point.p99_ms),
        line("max", "l3", |point| point.max_ms),
    ];
    let (rate, time) = ("Answers each second", "Latency from the planned start");
    for (title, unit, lines) in [(rate, "per second", rates), (time, "ms", times)] {
        let chart = chart::lines(title, unit, &lines, &section.marks);
        let _ = writeln!(out, "<figure><figcaption>{title}</figcaption>{chart}</figure>");
    }
    if !section.bars.is_empty() {
        let span = section.series.last().map_or(0.0, |point| point.at_s);
        let chart = chart::states(&section.bars, span);
        let caption = "<figcaption>Breakers, as the admin API told</figcaption>";
        let _ = writeln!(out, "<figure>{caption}{chart}</figure>");
    }
    let step = section.series.len().div_ceil(ROWS_MAX);
    let rows = section.series.iter().step_by(step).map(|point| {
        let rates = [point.good, point.refused, point.bad].map(number);
        let times = [point.p50_ms, point.p99_ms, point.max_ms].map(|it| format!("{it:.3}"));
        std::iter::once(format!("{:.1}", point.at_s)).chain(rates).chain(times).collect()
    });
    let columns = ["s", "good/s", "refused/s", "bad/s", "p50 ms", "p99 ms", "max ms"];
    let columns = columns.map(str::to_owned).to_vec();
    out.push_str("<details><summary>The series as a table</summary>");
    write_table(out, &Table { title: "The series".to_owned(), columns, rows: rows.collect() });
    out.push_str("</details>\n");
}

fn write_table(out: &mut String, table: &Table) {
    let title = escape(&table.title);
    let _ = write!(out, r#"<div class="scroll" tabindex="0"><table><caption>{title}</caption>"#);
    let heads: String = table.columns.iter().map(|it| head("col", it)).collect();
    let _ = writeln!(out, "<thead><tr>{heads}</tr></thead><tbody>");
    for row in &table.rows {
        let cell = |(nth, cell): (usize, &String)| match (nth, cell.as_str()) {
            (0, _) => head("row", cell),
            (_, "holds" | "broken" | "missed") => format!(r#"<td class="{cell}">{cell}</td>"#),
            _ => format!("<td>{}</td>", escape(cell)),
        };
        let cells: String = row.iter().enumerate().map(cell).collect();
        let _ = writeln!(out, "<tr>{cells}</tr>");
    }
    out.push_str("</tbody></table></div>\n");
}

fn head(scope: &str, text: &str) -> String {
    format!(r#"<th scope="{scope}">{}</th>"#, escape(text))
}
