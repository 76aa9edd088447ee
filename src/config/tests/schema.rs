//! The schema and the checker are one opinion.

use std::collections::{BTreeMap, BTreeSet};

use jsonc_parser::{CollectOptions, parse_to_ast};
use serde_json::Value;

use super::*;
use crate::config::complaint::nearest;
use crate::config::schema::{schema, value};
use crate::config::strict::STRICT;

/// The objects of the schema that have keys of their own: name and keys.
fn sections() -> Vec<(String, Vec<String>)> {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut found = Vec::new();
    fn collect(name: &str, part: &Value, found: &mut Vec<(String, Vec<String>)>) {
        if let Some(Value::Object(keys)) = part.get("properties") {
            found.push((name.to_owned(), keys.keys().cloned().collect()));
        }
        match part {
            Value::Object(parts) => {
                parts.iter().for_each(|(name, part)| collect(name, part, found))
            }
            Value::Array(parts) => parts.iter().for_each(|part| collect(name, part, found)),
            _ => {}
        }
    }
    collect("document", &schema, &mut found);
    found
}

/// Every string that is one slip of the pen away.
fn typos(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let mut found = Vec::new();
    for at in 0..=letters.len() {
        let end = (at + 1).min(letters.len());
        for (until, put) in [(at, "x"), (end, "x"), (end, "")] {
            let mut typo = letters.clone();
            typo.splice(at..until, put.chars());
            found.push(typo.into_iter().collect());
        }
        let mut swapped = letters.clone();
        swapped[at..(at + 2).min(letters.len())].reverse();
        found.push(swapped.into_iter().collect::<String>());
    }
    found.retain(|typo| typo != word);
    found.sort();
    found.dedup();
    found
}

#[test]
fn a_slip_in_any_key_or_word_is_told_apart() {
    let mut groups: Vec<Vec<String>> = sections().into_iter().map(|(_, keys)| keys).collect();
    assert!(groups.len() > 20, "{}", groups.len());
    groups.push(["off", "error", "warn", "info", "debug", "trace"].map(str::to_owned).into());
    groups.push(["leastRequests", "roundRobin", "random"].map(str::to_owned).into());
    groups.push(["sliding", "fixed", "cumulative"].map(str::to_owned).into());
    let (mut right, mut all, mut wrong) = (0, 0, Vec::new());
    for group in &groups {
        for word in group {
            for typo in typos(word).iter().filter(|typo| !group.contains(typo)) {
                all += 1;
                match nearest(typo, group.iter().map(String::as_str)) {
                    Some(found) if found == word => right += 1,
                    found => wrong.push(format!("{typo} → {found:?}, not {word}")),
                }
            }
        }
    }
    assert!(right * 100 >= all * 98, "{right} of {all}\n{}", wrong.join("\n"));
}

#[test]
fn every_key_has_a_description() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    fn check(name: &str, part: &Value) {
        if let Some(Value::Object(keys)) = part.get("properties") {
            for (key, rules) in keys {
                assert!(rules.get("description").is_some(), "{name}.{key}");
            }
        }
        match part {
            Value::Object(parts) => parts.iter().for_each(|(name, part)| check(name, part)),
            Value::Array(parts) => parts.iter().for_each(|part| check(name, part)),
            _ => {}
        }
    }
    check("document", &schema);
}

#[test]
fn every_row_of_what_is_not_built_names_a_key_of_the_schema() {
    let sections = sections();
    for row in not_built() {
        let section = sections.iter().find(|(name, _)| name == row.section);
        let (_, keys) = section.unwrap_or_else(|| panic!("{row:?}"));
        assert!(keys.iter().any(|key| key == row.key), "{row:?}");
    }
}

/// The keys of an object of the schema, and those that a document writes in any object of the kind.
#[derive(Default)]
struct Met {
    known: BTreeSet<&'static str>,
    written: BTreeSet<String>,
}

/// Notes what `value` writes of what `part` of the schema knows, and below.
fn meet(part: (&'static str, &'static Value), value: &Value, met: &mut BTreeMap<&str, Met>) {
    for form in form::forms(part.0, part.1) {
        let keys = form.rules.get("properties").and_then(Value::as_object);
        let rest = |key: &str| form.rules.get(key).map(|part| ("", part));
        match value {
            Value::Object(object) if form.is("object") => {
                let it = met.entry(form.name).or_default();
                it.known.extend(keys.into_iter().flat_map(|keys| keys.keys().map(String::as_str)));
                it.written.extend(object.keys().cloned());
                for (key, value) in object {
                    let own = keys.and_then(|keys| keys.get_key_value(key));
                    let own = own.map(|(key, part)| (key.as_str(), part));
                    if let Some(part) = own.or_else(|| rest("additionalProperties"))
                        && !is_spared(form.name, key)
                    {
                        meet(part, value, met);
                    }
                }
            }
            Value::Array(list) if form.is("array") => {
                let items = rest("items").unwrap();
                list.iter().for_each(|value| meet(items, value, met));
            }
            _ => {}
        }
    }
}

fn is_spared(section: &str, key: &str) -> bool {
    not_built().iter().any(|row| row.section == section && row.key == key)
        || match section {
            // Keys of types that are not built.
            "handler" => ["url", "timeout", "retries", "command", "channel"].contains(&key),
            "service" => key == "requestChannel",
            // A secret has one source; a comment beside `token` names this one.
            "secret" => key == "file",
            // Redis is reached in one way; a comment names the others.
            "state" => ["url", "cluster", "sentinel"].contains(&key),
            _ => false,
        }
}

#[test]
fn the_full_sample_has_every_built_key() {
    let root = parse_to_ast(FULL, &CollectOptions::default(), &STRICT).unwrap().value.unwrap();
    let full = walk::walk(&root, &mut Vec::new()).json;
    let mut met = BTreeMap::new();
    meet(("document", value()), &serde_json::from_str(&full).unwrap(), &mut met);
    assert!(met.len() > 15, "{:?}", met.keys());
    let missing = met.iter().flat_map(|(section, Met { known, written })| {
        let missing = known.iter().filter(|key| !written.contains(**key));
        missing.filter(|key| !is_spared(section, key)).map(move |key| format!("{section}.{key}"))
    });
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
}

/// A plain validator: the standard keywords that our schema uses, and nothing of ours.
fn valid(root: &Value, part: &Value, value: &Value) -> bool {
    let Some(rules) = part.as_object() else {
        return part.as_bool().unwrap_or(true);
    };
    rules.iter().all(|(keyword, rule)| match keyword.as_str() {
        "$ref" => valid(root, root.pointer(&rule.as_str().unwrap()[1..]).unwrap(), value),
        "anyOf" => rule.as_array().unwrap().iter().any(|part| valid(root, part, value)),
        "oneOf" => {
            rule.as_array().unwrap().iter().filter(|part| valid(root, part, value)).count() == 1
        }
        "type" => match rule {
            Value::Array(kinds) => kinds.iter().any(|kind| is(kind, value)),
            kind => is(kind, value),
        },
        "const" => rule == value,
        "enum" => rule.as_array().unwrap().contains(value),
        "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
        "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > rule.as_f64().unwrap()),
        "required" => value.as_object().is_none_or(|object| {
            rule.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "items" => value.as_array().is_none_or(|list| list.iter().all(|v| valid(root, rule, v))),
        "properties" => value.as_object().is_none_or(|object| {
            let known = |(key, value)| rule.get(key).is_none_or(|part| valid(root, part, value));
            object.iter().all(known)
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let own = |key: &String| rules.get("properties").is_some_and(|p| p.get(key).is_some());
            object.iter().all(|(key, value)| own(key) || valid(root, rule, value))
        }),
        "$schema" | "$defs" | "title" | "description" | "format" | "x-unit" | "pattern"
        | "default" => true,
        other => panic!("the checker does not know the keyword {other}"),
    })
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("{other}"),
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "tests read the samples from disk")]
fn schema_and_checker_agree_on_every_sample() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let mut compared = 0;
    for folder in ["config", "config/invalid", "config/advice"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_none_or(|ext| ext != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let complaints = load(&text).err().unwrap_or_default();
            // Of these kinds the schema knows all, and of no others anything.
            let shape = |c: &Complaint| {
                matches!(c.code, Code::UnknownKey | Code::WrongType | Code::UnknownWord)
            };
            let beyond = |c: &Complaint| {
                matches!(
                    c.code,
                    Code::Syntax
                        | Code::DuplicateKey
                        | Code::OutOfRange
                        | Code::Missing
                        | Code::BadUnit
                )
            };
            if complaints.iter().any(shape) {
                if let Some(value) = value_of(&text) {
                    assert!(!valid(&schema, &schema, &value), "{}", path.display());
                    compared += 1;
                }
            } else if !complaints.iter().any(beyond) {
                let value = value_of(&text).unwrap();
                assert!(valid(&schema, &schema, &value), "{}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared}");
}

/// The text as serde_json sees it, comments and trailing commas aside.
fn value_of(text: &str) -> Option<Value> {
    use jsonc_parser::ast;
    fn plain(node: &ast::Value<'_>) -> Option<Value> {
        Some(match node {
            ast::Value::StringLit(text) => Value::String(text.value.clone().into_owned()),
            ast::Value::NumberLit(number) => serde_json::from_str(number.value).ok()?,
            ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::Array(array) => {
                Value::Array(array.elements.iter().map(plain).collect::<Option<_>>()?)
            }
            ast::Value::Object(object) => {
                let entries = object.properties.iter();
                let entries = entries.map(|p| Some((p.name.as_str().to_owned(), plain(&p.value)?)));
                Value::Object(entries.collect::<Option<_>>()?)
            }
        })
    }
    let parsed = parse_to_ast(text, &Default::default(), &Default::default());
    plain(&parsed.ok()?.value?)
}
