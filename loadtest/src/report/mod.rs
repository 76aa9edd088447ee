//! What a test has found, ready to be shown.
//!
//! Enters: sections of loads, figures with their limits, tables. Leaves: one value that becomes
//! text, JSON, Markdown or a page, and a verdict.

mod chart;
mod html;
mod machine;
mod markdown;
mod section;
#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};

pub(crate) use html::page;
pub(crate) use machine::Machine;
pub(crate) use markdown::markdown;
pub(crate) use section::Section;
pub(crate) use text::{grouped, text};

/// One test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) name: String,
    /// What it shows, in a sentence.
    pub(crate) about: String,
    /// Where it ran.
    pub(crate) machine: Machine,
    /// How it was set up, by name.
    pub(crate) settings: Vec<(String, String)>,
    /// Its loads.
    pub(crate) sections: Vec<Section>,
    /// What it found.
    pub(crate) figures: Vec<Figure>,
    /// Tables of several programs beside each other.
    pub(crate) tables: Vec<Table>,
    /// What one has to know to read it.
    pub(crate) notes: Vec<String>,
    /// Parts that could not be run, with the reason.
    pub(crate) skipped: Vec<String>,
}

/// A number that was found, and what it should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    pub(crate) limit: Limit,
    pub(crate) weight: Weight,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Limit {
    /// Anything.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// What it means when a figure is beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Weight {
    /// The proxy does something wrong: never excused.
    Correct,
    /// It is slow, here and now: not held against it in a smoke test.
    Speed,
}

/// Rows and columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Figure {
    /// Whether it is within its limit.
    pub(crate) fn holds(&self) -> bool {
        match self.limit {
            Limit::None => true,
            Limit::AtMost(most) => self.value <= most,
            Limit::AtLeast(least) => self.value >= least,
        }
    }

    /// Its limit in words; none, where there is none.
    fn bound(&self) -> String {
        match self.limit {
            Limit::None => String::new(),
            Limit::AtMost(most) => format!("at most {}", text::number(most)),
            Limit::AtLeast(least) => format!("at least {}", text::number(least)),
        }
    }
}

impl Report {
    /// Why it has failed; empty when it has not. `counts` says which weight is held against it.
    pub(crate) fn failures(&self, counts: impl Fn(Weight) -> bool) -> Vec<String> {
        let broken = self.figures.iter().filter(|it| !it.holds() && counts(it.weight));
        let words = |it: &Figure| {
            let (value, bound) = (text::number(it.value), it.bound());
            let value = format!("{value} {}", it.unit);
            format!("{}: {} is {}, should be {bound}", self.name, it.name, value.trim_end())
        };
        let mut found: Vec<_> = broken.map(words).collect();
        if counts(Weight::Speed) {
            let doubts = self.sections.iter().filter_map(|section| {
                let limit = section.own.limit.as_ref()?;
                Some(format!("{}: {} is not trustworthy: {limit}", self.name, section.name))
            });
            found.extend(doubts);
        }
        found
    }
}
