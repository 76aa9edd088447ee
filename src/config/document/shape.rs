//! Shapes that several keys share: one or many, a word or an object, entries in order.
//!
//! Enters: serde's events. Leaves: plain values that remember how they were written, so that a
//! place can be named for each of them.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::Breaker;

/// A value, or a list of them.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum OneOrMany<T> {
    /// One, written without a list.
    One(T),
    /// A list.
    Many(Vec<T>),
}

/// A word, or an object.
#[derive(Clone, Debug, serde::Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum WordOr<W, T> {
    /// The word.
    Word(W),
    /// The object.
    Object(T),
}

/// The entries of an object whose keys are names, in the document's order.
#[derive(Clone, Debug)]
pub struct Entries<T>(pub Vec<(String, T)>);

/// The value `false`.
#[derive(Clone, Copy, Debug)]
pub struct Off;

/// The word `none`.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub(super) enum NoneWord {
    /// `none`.
    None,
}

/// A breaker, or the word that there is none.
#[derive(Clone, Debug)]
pub enum BreakerChoice {
    /// `"none"` or `false`.
    None,
    /// Its keys.
    Breaker(Box<Breaker>),
}

impl<T> OneOrMany<T> {
    /// Each value, with its place in the list where there is one.
    pub fn iter(&self) -> impl Iterator<Item = (Option<usize>, &T)> {
        let (one, many) = match self {
            Self::One(one) => (Some((None, one)), [].as_slice()),
            Self::Many(many) => (None, many.as_slice()),
        };
        one.into_iter().chain(many.iter().enumerate().map(|(nth, value)| (Some(nth), value)))
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("entries of {}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": entry })
    }
}

impl<'de> Deserialize<'de> for Off {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match bool::deserialize(deserializer)? {
            false => Ok(Self),
            true => Err(D::Error::custom("expected `false`")),
        }
    }
}

impl JsonSchema for Off {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "false".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean", "const": false })
    }
}

/// By hand, because an untagged enum would lose the spelling of `errorBody`.
impl<'de> Deserialize<'de> for BreakerChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choose;

        impl<'de> Visitor<'de> for Choose {
            type Value = BreakerChoice;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a breaker, \"none\" or false")
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<BreakerChoice, E> {
                Ok(BreakerChoice::None)
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<BreakerChoice, E> {
                Ok(BreakerChoice::None)
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<BreakerChoice, M::Error> {
                let breaker = Breaker::deserialize(MapAccessDeserializer::new(map))?;
                Ok(BreakerChoice::Breaker(Box::new(breaker)))
            }
        }

        deserializer.deserialize_any(Choose)
    }
}

impl JsonSchema for BreakerChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "breaker choice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let breaker = generator.subschema_for::<Breaker>();
        let none = generator.subschema_for::<NoneWord>();
        let off = generator.subschema_for::<Off>();
        json_schema!({ "anyOf": [breaker, none, off] })
    }
}
