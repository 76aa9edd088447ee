//! The shallow union of JSON objects, whose values stay the bytes they were.
//!
//! Enters: bodies of any kind, one by one. Leaves: what each one is, and the union of those that
//! are objects. Only the outermost object is read: its values are skipped over without recursion,
//! so neither their depth nor their digits matter.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: a fan-out holds whole bodies anyway"
)]

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Answer;
use super::headers::value;

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    /// Also everything that is not JSON.
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }

    pub(super) const fn with_article(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean => "a boolean",
            Self::Null => "null",
        }
    }

    /// The kind of a valid JSON text.
    fn of(json: &RawValue) -> Self {
        match json.get().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::String,
        }
    }
}

/// The shallow union of objects: a field stays where it was first seen and has its last value.
#[derive(Default)]
pub(super) struct Union<'a> {
    fields: Vec<(String, &'a RawValue)>,
    places: HashMap<String, usize>,
}

impl<'a> Union<'a> {
    /// Adds a body if it is an object, and says what it is.
    pub(super) fn add(&mut self, answer: &Answer<'a>) -> Kind {
        // What calls itself JSON and is not is as opaque as any text.
        let json = if is_json(answer) {
            serde_json::from_slice::<&RawValue>(answer.body).ok()
        } else {
            None
        };
        let Some(json) = json else { return Kind::String };
        let kind = Kind::of(json);
        if kind != Kind::Object {
            return kind;
        }
        match serde_json::from_str::<Object<'_>>(json.get()) {
            Ok(object) => {
                for (name, value) in object.0 {
                    self.set(name, value);
                }
                kind
            }
            Err(_) => Kind::String,
        }
    }

    fn set(&mut self, name: String, value: &'a RawValue) {
        let known = self.places.get(&name).and_then(|&place| self.fields.get_mut(place));
        if let Some(field) = known {
            field.1 = value;
        } else {
            self.places.insert(name.clone(), self.fields.len());
            self.fields.push((name, value));
        }
    }

    /// The union as JSON.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut out = Vec::from(b"{");
        for (nth, (name, value)) in self.fields.iter().enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
        out.push(b'}');
        out
    }
}

/// The fields of the outermost object, in order; their values unread.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

/// Whether the body calls itself JSON, and no coding hides it.
fn is_json(answer: &Answer<'_>) -> bool {
    let content_type = value(answer, "content-type").unwrap_or_default();
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    let coded = value(answer, "content-encoding").is_some_and(|coding| coding != b"identity");
    !coded && (essence == b"application/json" || essence.ends_with(b"+json"))
}
