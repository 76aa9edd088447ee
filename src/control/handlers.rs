//! Which handlers are called for which breaker.
//!
//! Enters: a configuration, and the handlers of the one before. Leaves: calls, with the options
//! that each breaker wants its handler told. Owns the handlers of the served configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::events::{CLOSE, Event, OPEN};
use super::handler::{Handler, Tally, Told};
use super::names::Names;
use crate::config::{Call, Config};
use crate::table::compile;

/// The handlers of every breaker by its name.
#[derive(Debug, Default)]
pub struct Handlers {
    breakers: BTreeMap<Box<str>, Calls>,
    all: Vec<Arc<Handler>>,
}

#[derive(Debug)]
pub(super) struct Calls {
    pub(super) on_open: Vec<Planned>,
    pub(super) on_close: Vec<Planned>,
    pub(super) on_rejected: Vec<Planned>,
}

#[derive(Debug)]
pub(super) struct Planned {
    handler: Arc<Handler>,
    options: serde_json::Value,
}

impl Handlers {
    /// The handlers that `config` names, for its breakers. Those of `before` that it names too go
    /// on. On the runtime of the control plane; `names` looks up what they call.
    #[must_use]
    pub fn of_config(config: &Config, before: &Self, names: &Arc<Names>) -> Self {
        let known = |name: &str| before.all.iter().find(|handler| handler.name() == name);
        let all: Vec<_> = config
            .http
            .handlers
            .iter()
            .map(|it| Handler::new(it, known(&it.name), names))
            .collect();
        let planned = |calls: &[Call]| {
            let planned = calls.iter().filter_map(|call| {
                let handler = Arc::clone(all.get(call.handler)?);
                Some(Planned { handler, options: call.options.clone() })
            });
            planned.collect()
        };
        let breakers = config.http.routes.iter().flat_map(compile::breakers);
        let calls = breakers.map(|(name, breaker)| {
            let calls = Calls {
                on_open: planned(&breaker.on_open),
                on_close: planned(&breaker.on_close),
                on_rejected: planned(&breaker.on_rejected),
            };
            (name.into(), calls)
        });
        Self { breakers: calls.collect(), all }
    }

    pub(super) fn of(&self, breaker: &str, which: fn(&Calls) -> &Vec<Planned>) -> &[Planned] {
        self.breakers.get(breaker).map_or(&[], |calls| which(calls))
    }

    /// Calls those that are to be called for a move.
    pub(super) fn call(&self, event: &Arc<Event>) {
        let calls = match event.event {
            OPEN => self.of(&event.breaker, |calls| &calls.on_open),
            CLOSE => self.of(&event.breaker, |calls| &calls.on_close),
            _ => &[],
        };
        calls.iter().for_each(|planned| planned.call(event));
    }

    /// What became of the calls of each handler.
    pub(super) fn tallies(&self) -> impl Iterator<Item = (&str, &Tally)> {
        self.all.iter().map(|handler| (handler.name(), handler.tally()))
    }
}

impl Planned {
    pub(super) fn call(&self, event: &Arc<Event>) {
        let payload = payload(event, &self.options);
        self.handler.call(Told { event: Arc::clone(event), payload });
    }
}

/// What a handler is told: the event with the options it was configured with.
pub(super) fn payload(event: &Event, options: &serde_json::Value) -> String {
    // Strings, numbers and what was JSON before: nothing that cannot be written.
    serde_json::to_string(&Payload { event, options }).unwrap_or_default()
}

#[derive(Serialize)]
struct Payload<'a> {
    #[serde(flatten)]
    event: &'a Event,
    options: &'a serde_json::Value,
}
