//! Where things stand in a document: JSON pointers and byte ranges.
//!
//! Enters: a syntax tree. Leaves: [`At`], a pointer that grows on the stack while a walk descends
//! and is spelled out only for a complaint; and [`Index`], which finds the bytes of a pointer.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use jsonc_parser::ast::Value;
use jsonc_parser::common::Ranged;

/// The way to a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'p> {
    parent: Option<&'p At<'p>>,
    step: Step<'p>,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Key(&'p str),
    Nth(usize),
}

/// Which part of an entry a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Key,
    Value,
}

impl<'p> At<'p> {
    pub(super) const ROOT: At<'static> = At { parent: None, step: Step::Nth(0), depth: 0 };

    pub(super) fn key(&'p self, key: &'p str) -> At<'p> {
        At { parent: Some(self), step: Step::Key(key), depth: self.depth + 1 }
    }

    pub(super) fn nth(&'p self, nth: usize) -> At<'p> {
        At { parent: Some(self), step: Step::Nth(nth), depth: self.depth + 1 }
    }

    /// How many steps from the root.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }
}

/// Writes the JSON pointer.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        match self.step {
            Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Nth(nth) => write!(f, "/{nth}"),
        }
    }
}

/// Finds the bytes of pointers. Built only when there is something to complain about.
pub(super) struct Index(HashMap<String, Option<Ranges>>);

struct Ranges {
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl Index {
    /// Looks for `pointers`, and for what they lie in, in `root`.
    pub(super) fn of<'p>(root: &Value<'_>, pointers: impl Iterator<Item = &'p str>) -> Self {
        let mut index = Self(HashMap::new());
        for pointer in pointers {
            let ends = pointer.match_indices('/').map(|(at, _)| at);
            for end in ends.chain([pointer.len()]) {
                if !index.0.contains_key(&pointer[..end]) {
                    index.0.insert(pointer[..end].to_owned(), None);
                }
            }
        }
        index.add(&At::ROOT, None, root);
        index
    }

    fn add(&mut self, at: &At<'_>, key: Option<Range<usize>>, value: &Value<'_>) {
        // Nothing that is looked for lies below what is not.
        let Some(found) = self.0.get_mut(&at.to_string()) else {
            return;
        };
        let range = value.range();
        // The first of two equal keys is the one that counts.
        found.get_or_insert(Ranges { key, value: range.start..range.end });
        match value {
            Value::Object(object) => {
                for entry in &object.properties {
                    let range = entry.name.range();
                    let key = Some(range.start..range.end);
                    self.add(&at.key(entry.name.as_str()), key, &entry.value);
                }
            }
            Value::Array(array) => {
                for (nth, element) in array.elements.iter().enumerate() {
                    self.add(&at.nth(nth), None, element);
                }
            }
            _ => {}
        }
    }

    /// The bytes of `pointer`, or of what it lies in where it is not written.
    pub(super) fn find(&self, pointer: &str, part: Part) -> Range<usize> {
        let mut pointer = pointer;
        loop {
            if let Some(Some(ranges)) = self.0.get(pointer) {
                let key = ranges.key.clone().filter(|_| part == Part::Key);
                return key.unwrap_or_else(|| ranges.value.clone());
            }
            match pointer.rsplit_once('/') {
                Some((parent, _)) => pointer = parent,
                None => return 0..0,
            }
        }
    }
}
