//! What the schema allows at one place.
//!
//! Enters: a part of the schema. Leaves: the [`Form`]s a value there may take, each with its words,
//! its unit and a phrase for messages. Owns the subset of JSON Schema that the document's types
//! make use of.

use jsonc_parser::ast;
use serde_json::{Map, Value};

use super::complaint::any_of;
use super::{schema, units};

/// One form a value may take.
pub(super) struct Form {
    /// What the schema calls it, if it is an object with a name.
    pub(super) name: &'static str,
    pub(super) rules: &'static Map<String, Value>,
}

/// Every form that `part` of the schema allows; none: anything goes. `name` is what the schema
/// calls it.
pub(super) fn forms(name: &'static str, part: &'static Value) -> Vec<Form> {
    let mut found = Vec::new();
    collect(name, part, &mut found);
    found
}

fn collect(name: &'static str, part: &'static Value, found: &mut Vec<Form>) {
    let Some(rules) = part.as_object() else {
        return;
    };
    if let Some(reference) = rules.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some(part) = schema::value().pointer(reference.trim_start_matches('#')) {
            collect(name, part, found);
        }
        return;
    }
    match rules.get("anyOf").or_else(|| rules.get("oneOf")).and_then(Value::as_array) {
        Some(choices) => choices.iter().for_each(|choice| collect(name, choice, found)),
        None if rules.contains_key("type") || rules.contains_key("const") => {
            found.push(Form { name, rules });
        }
        None => {}
    }
}

impl Form {
    /// Whether a value of this JSON type may be meant.
    pub(super) fn is(&self, kind: &str) -> bool {
        match self.rules.get("type") {
            Some(Value::String(only)) => only == kind,
            Some(Value::Array(kinds)) => kinds.iter().any(|any| any == kind),
            _ => self.rules.get("const").is_some_and(Value::is_string) && kind == "string",
        }
    }

    pub(super) fn admits(&self, node: &ast::Value<'_>) -> bool {
        match node {
            ast::Value::StringLit(_) => self.is("string"),
            ast::Value::NumberLit(_) => self.is("number") || self.is("integer"),
            ast::Value::BooleanLit(_) => self.is("boolean"),
            ast::Value::Object(_) => self.is("object"),
            ast::Value::Array(_) => self.is("array"),
            ast::Value::NullKeyword(_) => false,
        }
    }

    pub(super) fn unit(&self) -> Option<&'static (&'static str, units::Check, &'static str)> {
        let unit = self.rules.get("x-unit").and_then(Value::as_str)?;
        units::UNITS.iter().find(|(name, ..)| *name == unit)
    }

    /// The words it consists of, if it does.
    pub(super) fn words(&self) -> Vec<&'static str> {
        let many = self.rules.get("enum").and_then(Value::as_array).into_iter().flatten();
        many.chain(self.rules.get("const")).filter_map(Value::as_str).collect()
    }

    fn phrase(&self) -> String {
        if let Some((.., phrase)) = self.unit() {
            return (*phrase).to_owned();
        }
        match self.rules.get("type").and_then(Value::as_str) {
            Some("object") => "an object",
            Some("array") => "a list",
            Some("string") => "a string",
            Some("boolean") if self.rules.contains_key("const") => "`false`",
            Some("boolean") => "`true` or `false`",
            _ => "a number",
        }
        .to_owned()
    }
}

/// What may stand where `forms` are allowed.
pub(super) fn describe(forms: &[Form]) -> String {
    let words: Vec<&str> = forms.iter().flat_map(Form::words).collect();
    let wordless = forms.iter().filter(|form| form.words().is_empty()).map(Form::phrase);
    let words = if words.is_empty() { None } else { Some(any_of(words)) };
    words.into_iter().chain(wordless).collect::<Vec<_>>().join(" or ")
}

/// The JSON type of `node`, for messages.
pub(super) const fn kind_of(node: &ast::Value<'_>) -> &'static str {
    match node {
        ast::Value::StringLit(_) => "a string",
        ast::Value::NumberLit(_) => "a number",
        ast::Value::BooleanLit(literal) if literal.value => "`true`",
        ast::Value::BooleanLit(_) => "`false`",
        ast::Value::Object(_) => "an object",
        ast::Value::Array(_) => "a list",
        ast::Value::NullKeyword(_) => "`null`",
    }
}

/// The objects, as an operator calls them, in which `key` is known.
pub(super) fn home_of(key: &str) -> Option<String> {
    let has = |rules: &Value| rules.get("properties").is_some_and(|all| all.get(key).is_some());
    if has(schema::value()) {
        return Some("the top level".to_owned());
    }
    let sections = schema::value().get("$defs")?.as_object()?;
    let homes = sections.iter().filter(|(_, rules)| has(rules)).map(|(name, _)| name.as_str());
    let homes: Vec<&str> = homes.collect();
    (!homes.is_empty()).then(|| any_of(homes))
}
