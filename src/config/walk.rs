//! Syntax tree × schema → every complaint about shape, and a clean tree.
//!
//! Enters: the tree of a document with its byte ranges. Leaves: strict JSON of all that is sound,
//! ready for serde, and the objects that lost something. Knows no key by name: what is allowed
//! where is the schema's to say.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::LazyLock;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use serde_json::{Map, Value};

use super::complaint::{Code, Fault, any_of, nearest, quoted};
use super::form::{self, Form};
use super::place::At;
use super::units::{self, Raw};
use super::{schema, span, unbuilt};

/// Deeper documents are refused; no key of the contract is half as deep.
const DEPTH_MAX: usize = 32;

/// More faults than this are not kept: only the first are shown, and a hostile text has millions.
const FAULTS_MAX: usize = 10_000;

/// What is sound in a document.
pub(super) struct Clean {
    /// As strict JSON.
    pub(super) json: String,
    /// Pointers of the objects in which something was not sound.
    pub(super) faulty: HashSet<String>,
}

/// Walks `root`; what is wrong goes to `faults`.
pub(super) fn walk(root: &ast::Value<'_>, faults: &mut Vec<Fault>) -> Clean {
    let mut walk = Walk { json: String::new(), faults, faulty: HashSet::new() };
    if walk.value(&At::ROOT, root, ("document", schema::value())) == Verdict::Drop {
        walk.json = "{}".to_owned();
    }
    Clean { json: walk.json, faulty: walk.faulty }
}

struct Walk<'f> {
    json: String,
    faults: &'f mut Vec<Fault>,
    faulty: HashSet<String>,
}

/// A part of the schema, and what it is called there.
type Part = (&'static str, &'static Value);

/// Whether a value goes into the clean tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
}

impl Walk<'_> {
    fn value(&mut self, at: &At<'_>, node: &ast::Value<'_>, part: Part) -> Verdict {
        if at.depth() > DEPTH_MAX {
            let message = format!("this is nested more than {DEPTH_MAX} levels deep");
            self.raise(Code::Syntax, at, node.range(), message, "flatten it");
            return Verdict::Drop;
        }
        let forms = form::forms(part.0, part.1);
        if forms.is_empty() {
            return self.verbatim(at, node);
        }
        let fits: Vec<&Form> = forms.iter().filter(|form| form.admits(node)).collect();
        match (fits.as_slice(), node) {
            ([], _) => self.wrong_type(at, node, &forms),
            (_, ast::Value::StringLit(text)) => self.text(at, text, &forms),
            ([form, ..], ast::Value::NumberLit(number)) => self.number(at, number, form),
            ([form, ..], ast::Value::Object(object)) => self.object(at, object, form),
            ([form, ..], ast::Value::Array(array)) => self.array(at, array, form),
            ([form, ..], ast::Value::BooleanLit(literal)) => {
                if form.rules.get("const").is_some_and(|only| *only != literal.value) {
                    return self.wrong_type(at, node, &forms);
                }
                self.json.push_str(if literal.value { "true" } else { "false" });
                Verdict::Keep
            }
            (_, ast::Value::NullKeyword(_)) => self.wrong_type(at, node, &forms),
        }
    }

    fn object(&mut self, at: &At<'_>, object: &ast::Object<'_>, form: &Form) -> Verdict {
        let known = form.rules.get("properties").and_then(Value::as_object);
        let other = form.rules.get("additionalProperties").filter(|part| part.is_object());
        let other = other.map(|part| ("", part));
        let mut seen: HashMap<&str, Range<usize>> = HashMap::new();
        let mut meant = Vec::new();
        self.json.push('{');
        for entry in &object.properties {
            let key = entry.name.as_str();
            let at = at.key(key);
            let range = entry.name.range();
            if let Some(first) = seen.insert(key, range.start..range.end) {
                let message = format!("key {} is written twice", quoted(key));
                self.raise(Code::DuplicateKey, &at, range, message, "keep one of the two");
                self.point_at(first.clone(), "first written here");
                seen.insert(key, first);
                continue;
            }
            let named = known.and_then(|known| known.get_key_value(key));
            match named.map(|(name, part)| (name.as_str(), part)).or(other) {
                Some(part) => self.entry(&at, entry, form, part),
                None => meant.extend(self.unknown_key(&at, entry, known)),
            }
        }
        if self.json.ends_with(',') {
            self.json.pop();
        }
        self.json.push('}');
        let required = form.rules.get("required").and_then(Value::as_array);
        let required = required.into_iter().flatten().filter_map(Value::as_str);
        for key in required.filter(|key| !seen.contains_key(key) && !meant.contains(key)) {
            let remedy = format!("add `{key}`");
            let message = format!("`{key}` is missing");
            self.raise(Code::Missing, at, object.range, message, &remedy);
        }
        Verdict::Keep
    }

    fn entry(&mut self, at: &At<'_>, entry: &ast::ObjectProp<'_>, form: &Form, part: Part) {
        let key = entry.name.as_str();
        let start = self.json.len();
        self.string(key);
        self.json.push(':');
        let value = self.json.len();
        let complaints = self.faults.len();
        let verdict = self.value(at, &entry.value, part);
        if verdict == Verdict::Drop {
            self.json.truncate(start);
            return;
        }
        // What is wrong anyway need not also be called unbuilt.
        if self.faults.len() == complaints
            && let Some(row) = unbuilt::row(form.name, key, &self.json[value..])
        {
            let message = format!("`{key}` is not built yet: {}", row.says);
            self.raise(Code::NotBuilt, at, entry.value.range(), message, row.remedy);
        }
        self.json.push(',');
    }

    /// Complains, and gives the key that was probably meant.
    fn unknown_key(
        &mut self,
        at: &At<'_>,
        entry: &ast::ObjectProp<'_>,
        known: Option<&'static Map<String, Value>>,
    ) -> Option<&'static str> {
        let key = entry.name.as_str();
        let known = || known.into_iter().flat_map(Map::keys).map(String::as_str);
        let meant = nearest(key, known());
        let remedy = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => match form::home_of(key) {
                Some(homes) => format!("it is a key of {homes}; move it there"),
                None => format!("remove it; known here: {}", any_of(known())),
            },
        };
        let message = format!("unknown key {}", quoted(key));
        self.raise(Code::UnknownKey, at, entry.name.range(), message, &remedy);
        if let Some(meant) = meant {
            // Whatever lacks the key that was meant lacks it because of this slip.
            let pointer = at.to_string();
            let (parent, _) = pointer.rsplit_once('/').unwrap_or_default();
            self.faulty.insert(format!("{parent}/{meant}"));
        }
        meant
    }

    fn array(&mut self, at: &At<'_>, array: &ast::Array<'_>, form: &Form) -> Verdict {
        let anything = &Value::Bool(true);
        let items = form.rules.get("items").unwrap_or(anything);
        let mut verdict = Verdict::Keep;
        self.json.push('[');
        for (nth, element) in array.elements.iter().enumerate() {
            // A list with a hole would shift the places of the rest: it goes as a whole.
            if self.value(&at.nth(nth), element, ("", items)) == Verdict::Drop {
                verdict = Verdict::Drop;
            }
            self.json.push(',');
        }
        if self.json.ends_with(',') {
            self.json.pop();
        }
        self.json.push(']');
        verdict
    }

    fn text(&mut self, at: &At<'_>, text: &ast::StringLit<'_>, forms: &[Form]) -> Verdict {
        let value = text.value.as_ref();
        let texts = || forms.iter().filter(|form| form.is("string"));
        if let Some(unit) = texts().find_map(Form::unit) {
            if let Some(misread) = (unit.1)(Raw::Text(value)) {
                self.raise(misread.code, at, text.range, misread.fault, &misread.remedy);
                return Verdict::Drop;
            }
            self.advise(at, text, unit.0);
        } else if texts().all(|form| !form.words().is_empty())
            && !texts().any(|form| form.words().contains(&value))
        {
            let numeric = forms.iter().any(|form| form.is("integer") || form.is("number"));
            let remedy = match nearest(value, texts().flat_map(Form::words)) {
                _ if numeric && value.parse::<f64>().is_ok() => {
                    "write the number without quotes".to_owned()
                }
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("write {}", form::describe(forms)),
            };
            let message = format!("{} is not a word known here", quoted(value));
            self.raise(Code::UnknownWord, at, text.range, message, &remedy);
            return Verdict::Drop;
        }
        self.string(value);
        Verdict::Keep
    }

    /// Warns where seed B's library read a duration differently.
    fn advise(&mut self, at: &At<'_>, text: &ast::StringLit<'_>, unit: &str) {
        if unit.starts_with("duration")
            && let Ok((value, span::Reading::Different(why))) = span::read(&text.value)
        {
            let (was, means) = (quoted(&text.value), units::shown(value));
            let message = format!("{was} means {means} here; human-interval 0.1.6 differs: {why}");
            let millis = value.as_millis();
            let remedy = format!("to be read alike everywhere, write {millis} (milliseconds)");
            self.raise(Code::ReadDifferently, at, text.range, message, &remedy);
        }
    }

    fn number(&mut self, at: &At<'_>, number: &ast::NumberLit<'_>, form: &Form) -> Verdict {
        let value = number.value.parse().unwrap_or(f64::INFINITY);
        if !value.is_finite() {
            let message = "the number is too large".to_owned();
            self.raise(Code::OutOfRange, at, number.range, message, "write a smaller number");
            return Verdict::Drop;
        }
        if let Some(misread) = form.unit().and_then(|unit| (unit.1)(Raw::Number(value))) {
            self.raise(misread.code, at, number.range, misread.fault, &misread.remedy);
            return Verdict::Drop;
        }
        let bound = |key: &str| form.rules.get(key).and_then(Value::as_f64);
        let (low, high) = (bound("minimum"), bound("maximum"));
        if low.is_some_and(|low| value < low) || high.is_some_and(|high| value > high) {
            let remedy = match (low, high) {
                (Some(low), Some(high)) => format!("write a number from {low} to {high}"),
                (Some(low), None) => format!("write {low} or more"),
                (None, Some(high)) => format!("write {high} or less"),
                (None, None) => String::new(),
            };
            let message = format!("{} is out of range", quoted(number.value));
            self.raise(Code::OutOfRange, at, number.range, message, &remedy);
            return Verdict::Drop;
        }
        self.json.push_str(number.value);
        Verdict::Keep
    }

    /// A value that anything may stand in: written as it is.
    fn verbatim(&mut self, at: &At<'_>, node: &ast::Value<'_>) -> Verdict {
        static ANY: LazyLock<Map<String, Value>> = LazyLock::new(|| {
            Map::from_iter([("additionalProperties".to_owned(), Map::new().into())])
        });
        let form = Form { name: "anything", rules: &ANY };
        match node {
            ast::Value::Object(object) => self.object(at, object, &form),
            ast::Value::Array(array) => self.array(at, array, &form),
            ast::Value::NumberLit(number) => self.number(at, number, &form),
            ast::Value::StringLit(text) => {
                self.string(&text.value);
                Verdict::Keep
            }
            ast::Value::BooleanLit(literal) => {
                self.json.push_str(if literal.value { "true" } else { "false" });
                Verdict::Keep
            }
            ast::Value::NullKeyword(_) => {
                self.json.push_str("null");
                Verdict::Keep
            }
        }
    }

    fn wrong_type(&mut self, at: &At<'_>, node: &ast::Value<'_>, forms: &[Form]) -> Verdict {
        let expected = form::describe(forms);
        let expects = |kind: &str| forms.iter().any(|form| form.is(kind));
        let remedy = match node {
            ast::Value::StringLit(text)
                if text.value.parse::<f64>().is_ok()
                    && (expects("integer") || expects("number")) =>
            {
                "write the number without quotes".to_owned()
            }
            ast::Value::NumberLit(_) | ast::Value::BooleanLit(_) if expects("string") => {
                "put it in quotes".to_owned()
            }
            ast::Value::NullKeyword(_) => "leave the key out, or give it a value".to_owned(),
            ast::Value::Object(_) | ast::Value::Array(_) => format!("write {expected}"),
            _ if expects("array") => "put it in a list: [ … ]".to_owned(),
            _ => format!("write {expected}"),
        };
        let message = format!("expected {expected}, found {}", form::kind_of(node));
        self.raise(Code::WrongType, at, node.range(), message, &remedy);
        Verdict::Drop
    }

    /// Writes a JSON string.
    fn string(&mut self, text: &str) {
        // Strings cannot fail to serialise.
        self.json.push_str(&serde_json::to_string(text).unwrap_or_default());
    }

    fn raise(
        &mut self,
        code: Code,
        at: &At<'_>,
        range: jsonc_parser::common::Range,
        message: String,
        remedy: &str,
    ) {
        if self.faults.len() >= FAULTS_MAX {
            return;
        }
        let pointer = at.to_string();
        if !matches!(code, Code::NotBuilt | Code::ReadDifferently) {
            let (parent, _) = pointer.rsplit_once('/').unwrap_or_default();
            self.faulty.insert(parent.to_owned());
            self.faulty.insert(pointer.clone());
        }
        self.faults.push(Fault {
            code,
            pointer,
            range: range.start..range.end,
            message,
            remedy: remedy.to_owned(),
            other: None,
        });
    }

    /// Shows a second place with the last complaint.
    fn point_at(&mut self, range: Range<usize>, label: &str) {
        if let Some(fault) = self.faults.last_mut() {
            fault.other = Some((range, label.to_owned()));
        }
    }
}
