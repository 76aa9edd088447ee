//! Samples → lines of the Prometheus text format.
//!
//! Enters: labels and a value. Leaves: one line each, at the end of the text, every label value
//! escaped. What there is to tell is the table's in `metrics`.

use std::fmt::Write;

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
        self.out.push_str(self.name);
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
