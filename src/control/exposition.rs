//! Samples → lines of the Prometheus text format.
//!
//! Enters: labels and a value. Leaves: one line each, at the end of the text, every label value
//! escaped. What there is to tell is the table's in `metrics`.

use std::fmt::{self, Arguments, Write};

/// Takes the samples of one metric.
pub(super) struct Family<'o> {
    /// Its name.
    pub(super) name: &'static str,
    /// The text so far.
    pub(super) out: &'o mut String,
}

impl Family<'_> {
    /// Appends one sample.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: u64) {
        self.part("", labels, format_args!("{value}"));
    }

    /// Appends a span of time, in seconds.
    pub(super) fn seconds(&mut self, labels: &[(&str, &str)], micros: u64) {
        self.part("", labels, format_args!("{}", Seconds(micros)));
    }

    /// Appends a histogram of spans: how many were within each bound, and more than the last one;
    /// and their sum.
    pub(super) fn histogram(&mut self, bounds: &[u64], counts: &[u64], micros: u64) {
        let mut sum = 0;
        for (nth, count) in counts.iter().enumerate() {
            sum += count;
            let bound = bounds.get(nth).map(|bound| Seconds(*bound).to_string());
            let bound = bound.unwrap_or_else(|| "+Inf".to_owned());
            self.part("_bucket", &[("le", &bound)], format_args!("{sum}"));
        }
        self.part("_sum", &[], format_args!("{}", Seconds(micros)));
        self.part("_count", &[], format_args!("{sum}"));
    }

    fn part(&mut self, suffix: &str, labels: &[(&str, &str)], value: Arguments<'_>) {
        push_all(self.out, &[self.name, suffix]);
        for (nth, (label, text)) in labels.iter().enumerate() {
            self.out.push(if nth == 0 { '{' } else { ',' });
            push_all(self.out, &[label, "=\""]);
            push_escaped(self.out, text);
            self.out.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{end} {value}");
    }
}

/// Microseconds, shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Appends `parts`, as they are.
pub(super) fn push_all(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
}
