//! Complaints about meaning, while their places are pointers still.
//!
//! Enters: what the checks of a decoded document find. Leaves: faults with byte ranges. Drops what
//! is only the echo of a fault that the walk over the tree has found already.

use std::collections::HashSet;

use jsonc_parser::ast::Value;

use super::complaint::{Code, Fault};
use super::place::{At, Index, Part};

/// Collects complaints about meaning.
#[derive(Debug, Default)]
pub(super) struct Report {
    raised: Vec<Raised>,
}

#[derive(Debug)]
struct Raised {
    code: Code,
    pointer: String,
    part: Part,
    message: String,
    remedy: String,
    other: Option<(String, Part, String)>,
    /// Where the name that is missing would stand.
    home: Option<&'static str>,
}

impl Report {
    /// Complains about the value at `at`.
    pub(super) fn value(&mut self, code: Code, at: &At<'_>, message: String, remedy: &str) {
        self.raise(code, at, Part::Value, message, remedy);
    }

    /// Complains about the key of `at`.
    pub(super) fn key(&mut self, code: Code, at: &At<'_>, message: String, remedy: &str) {
        self.raise(code, at, Part::Key, message, remedy);
    }

    /// Complains about a name at `at` that nothing at the pointer `home` bears.
    pub(super) fn name(&mut self, at: &At<'_>, home: &'static str, message: String, remedy: &str) {
        self.raise(Code::UnknownName, at, Part::Value, message, remedy);
        if let Some(raised) = self.raised.last_mut() {
            raised.home = Some(home);
        }
    }

    /// Shows a second key with the last complaint.
    pub(super) fn point_at(&mut self, pointer: String, label: &str) {
        if let Some(raised) = self.raised.last_mut() {
            raised.other = Some((pointer, Part::Key, label.to_owned()));
        }
    }

    fn raise(&mut self, code: Code, at: &At<'_>, part: Part, message: String, remedy: &str) {
        let (pointer, remedy) = (at.to_string(), remedy.to_owned());
        self.raised.push(Raised { code, pointer, part, message, remedy, other: None, home: None });
    }

    /// The faults, with their places in `root`. `faulty` names the objects that lost something.
    pub(super) fn faults(self, root: &Value<'_>, faulty: &HashSet<String>) -> Vec<Fault> {
        if self.raised.is_empty() {
            return Vec::new();
        }
        let raised = self.raised.into_iter().filter(|raised| !raised.is_echo(faulty));
        let raised: Vec<Raised> = raised.collect();
        let others = raised.iter().filter_map(|raised| raised.other.as_ref());
        let others = others.map(|(other, ..)| other.as_str());
        let index =
            Index::of(root, raised.iter().map(|raised| raised.pointer.as_str()).chain(others));
        let faults = raised.into_iter().map(|raised| Fault {
            code: raised.code,
            range: index.find(&raised.pointer, raised.part),
            other: raised.other.map(|(other, part, label)| (index.find(&other, part), label)),
            pointer: raised.pointer,
            message: raised.message,
            remedy: raised.remedy,
        });
        faults.collect()
    }
}

impl Raised {
    /// Whether it may be there only because something else was taken out of the tree.
    fn is_echo(&self, faulty: &HashSet<String>) -> bool {
        let parent = self.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
        match self.code {
            Code::Missing | Code::Conflict | Code::NoWindow => {
                faulty.contains(&self.pointer) || faulty.contains(parent)
            }
            // What bears the name may have been taken out.
            Code::UnknownName => self.home.is_some_and(|home| faulty.contains(home)),
            _ => false,
        }
    }
}
