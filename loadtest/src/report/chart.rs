//! Drawings as SVG: lines over time, and bars of states under them.
//!
//! Enters: numbers. Leaves: text without scripts, whose colours are classes of the page's style, so
//! that it follows light and dark; each with a title and a description for those who do not see it.

use std::fmt::Write;

use super::text::number;
use crate::proxy::watch::Bar;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 26.0;
const ROW: f64 = 22.0;

/// A line of a chart.
pub(super) struct Line<'l> {
    pub(super) name: &'l str,
    /// Its class: a colour and a pattern, so that colour is not needed to tell it.
    pub(super) class: &'l str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Lines over time, with marks of what happened when.
pub(super) fn lines(
    title: &str,
    unit: &str,
    lines: &[Line<'_>],
    marks: &[(f64, String)],
) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = all().map(|(at, _)| *at).fold(1e-9, f64::max);
    let top = round_up(all().map(|(_, value)| *value).fold(1e-9, f64::max));
    let x = |at: f64| LEFT + at / span * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut out = open(title, HEIGHT, &describe(unit, lines));
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let (from, to, y) = (LEFT, WIDTH - RIGHT, y(value));
        let _ = write!(out, r#"<path class="grid" d="M{from} {y:.1}H{to}"/>"#);
        write_text(&mut out, LEFT - 6.0, y + 4.0, "end", &number(value));
    }
    write_axis(&mut out, span, HEIGHT, x);
    for (at, what) in marks {
        let (x, to) = (x(*at), HEIGHT - BOTTOM);
        let _ = write!(out, r#"<path class="mark" d="M{x:.1} {TOP}V{to}"/>"#);
        write_text(&mut out, x + 4.0, TOP - 3.0, "start", what);
    }
    for Line { name, class, points } in lines {
        let step = |(nth, (at, value)): (usize, &(f64, f64))| {
            let letter = if nth == 0 { 'M' } else { 'L' };
            format!("{letter}{:.1} {:.1}", x(*at), y(*value))
        };
        let path: String = points.iter().enumerate().map(step).collect();
        let _ = write!(out, r#"<path class="{class}" d="{path}"><title>{name}</title></path>"#);
    }
    out.push_str(r#"</svg><p class="legend">"#);
    for Line { name, class, .. } in lines {
        let sample = format!(r#"<path class="{class}" d="M0 4H24"/>"#);
        let sample = format!(r#"<svg viewBox="0 0 24 8" aria-hidden="true">{sample}</svg>"#);
        let _ = write!(out, "<span>{sample}{name}</span> ");
    }
    let _ = write!(out, "<span>{unit}</span></p>");
    out
}

/// What states breakers were in, for `span` seconds.
pub(super) fn states(bars: &[Bar], span: f64) -> String {
    let mut names: Vec<&str> = bars.iter().map(|bar| bar.breaker.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let span = bars.iter().map(|bar| bar.to_s).fold(span, f64::max).max(1e-9);
    let x = |at: f64| LEFT + at / span * (WIDTH - LEFT - RIGHT);
    let words = |bar: &Bar| {
        format!("{} {} from {:.2} s to {:.2} s", bar.breaker, bar.state, bar.from_s, bar.to_s)
    };
    let height = BOTTOM + names.iter().map(|_| ROW).sum::<f64>();
    let all: Vec<_> = bars.iter().map(words).collect();
    let mut out = open("State of each breaker", height, &all.join("; "));
    let mut y = 0.0;
    for name in names {
        write_text(
            &mut out,
            LEFT - 6.0,
            y + 15.0,
            "end",
            &name.chars().take(12).collect::<String>(),
        );
        for bar in bars.iter().filter(|bar| bar.breaker == name) {
            let (from, state) = (x(bar.from_s), &bar.state);
            let width = (x(bar.to_s) - from).max(1.0);
            let words = escape(&words(bar));
            let place = format!(r#"x="{from:.1}" y="{:.1}" width="{width:.1}""#, y + 3.0);
            let _ = write!(
                out,
                r#"<rect class="{state}" {place} height="16"><title>{words}</title></rect>"#
            );
            if width > 60.0 {
                write_text(&mut out, from + 5.0, y + 15.0, "inside", state);
            }
        }
        y += ROW;
    }
    write_axis(&mut out, span, height, x);
    out.push_str("</svg>");
    out
}

fn open(title: &str, height: f64, description: &str) -> String {
    let (title, description) = (escape(title), escape(description));
    let words = format!("<title>{title}</title><desc>{description}</desc>");
    format!(r#"<svg role="img" viewBox="0 0 {WIDTH} {height}">{words}"#)
}

fn describe(unit: &str, lines: &[Line<'_>]) -> String {
    let range = |line: &Line<'_>| {
        let values = || line.points.iter().map(|(_, value)| *value);
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
        format!("{} between {} and {} {unit}", line.name, number(least.min(most)), number(most))
    };
    lines.iter().map(range).collect::<Vec<_>>().join("; ")
}

fn write_axis(out: &mut String, span: f64, height: f64, x: impl Fn(f64) -> f64) {
    for step in 0..=6 {
        let at = span * f64::from(step) / 6.0;
        let class = if step == 6 { "end" } else { "middle" };
        write_text(out, x(at), height - 8.0, class, &format!("{at:.1} s"));
    }
}

fn write_text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    let _ = write!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
}

/// The next round number: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let mut steps = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power);
    steps.find(|top| *top >= value * 0.999).unwrap_or(value)
}

/// `text` inside of HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
