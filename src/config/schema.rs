//! The JSON Schema of a document, made from the document's types.
//!
//! Enters: nothing. Leaves: the schema, as text for editors and as a value for the checker: one
//! source, so that what an editor accepts and what `check` accepts cannot drift apart.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::document::Document;

/// The schema as text, for `fusebox emit schema`.
#[must_use]
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(value()).unwrap_or_default();
    text.push('\n');
    text
}

/// The schema as a value.
pub(super) fn value() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema: Value = generator.into_root_schema_for::<Document>().into();
        without_null(&mut schema);
        schema
    });
    &SCHEMA
}

/// Takes out the `null` that optional keys get: leaving a key out is the one way to not set it.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for key in ["type", "enum"] {
                if let Some(Value::Array(words)) = object.get_mut(key) {
                    words.retain(|word| !word.is_null() && word != "null");
                    if key == "type" && words.len() == 1 {
                        let only = words.remove(0);
                        object.insert(key.to_owned(), only);
                    }
                }
            }
            for key in ["anyOf", "oneOf"] {
                flatten_null(object, key);
            }
            object.values_mut().for_each(without_null);
        }
        Value::Array(values) => values.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// `anyOf: [X, null]` → `X`.
fn flatten_null(object: &mut Map<String, Value>, key: &str) {
    let Some(Value::Array(choices)) = object.get_mut(key) else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
    if let [Value::Object(only)] = choices.as_mut_slice() {
        let only = std::mem::take(only);
        object.remove(key);
        for (name, value) in only {
            object.entry(name).or_insert(value);
        }
    }
}
