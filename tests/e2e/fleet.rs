//! Several proxies that share their state through one Redis.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Response};
use crate::document::{guarded, with};
use crate::kernel::Signal;
use crate::origin::{Origin, Reply};
use crate::proxy::{Proxy, percent};
use crate::wait;

/// The breaker of every fleet.
pub(crate) const NAME: &str = "GET /guarded";

/// `state` of a Redis at this port, with these further keys.
pub(crate) fn redis(port: u16, extra: Value) -> Value {
    let mut state = json!({ "type": "redis", "port": port, "interval": "50ms" });
    let keys = extra.as_object().expect("an object").clone();
    state.as_object_mut().unwrap().extend(keys);
    state
}

/// Proxies in front of one origin, with one breaker between them.
#[derive(Debug)]
pub(crate) struct Fleet(pub(crate) Vec<Proxy>);

impl Fleet {
    /// Starts `size` proxies and waits until each knows of all.
    #[track_caller]
    pub(crate) fn start(size: usize, origin: &Origin, breaker: &Value, state: &Value) -> Self {
        let document = with(guarded(origin, breaker.clone()), "/state", state.clone());
        Self::of(size, &document)
    }

    /// The same, with `document` for each.
    #[track_caller]
    pub(crate) fn of(size: usize, document: &Value) -> Self {
        let fleet = Self((0..size).map(|_| Proxy::start(document)).collect());
        fleet.await_whole();
        fleet
    }

    /// Waits until each of them knows of all.
    #[track_caller]
    pub(crate) fn await_whole(&self) {
        let all = json!(self.0.len());
        wait::until("all know of each other", || {
            let known = |proxy: &Proxy| {
                let state = standing(proxy);
                state["up"] == json!(true) && state["instances"] == all
            };
            self.0.iter().all(known)
        });
    }

    /// Waits until all of them show the breaker in this state.
    #[track_caller]
    pub(crate) fn await_state(&self, state: &str) {
        let shown = || self.states();
        wait::until(&format!("all are {state}"), || shown().iter().all(|it| it == state));
    }

    /// The state of the breaker, as each shows it.
    pub(crate) fn states(&self) -> Vec<String> {
        self.0.iter().map(|proxy| proxy.state(NAME)).collect()
    }

    /// Ends all of them as an operator would.
    #[track_caller]
    pub(crate) fn end(self) {
        for proxy in &self.0 {
            proxy.signal(Signal::Terminate);
        }
        for proxy in self.0 {
            assert!(proxy.end().success());
        }
    }
}

/// What `/status` tells of the shared state.
pub(crate) fn standing(proxy: &Proxy) -> Value {
    proxy.ask("/status").json()["state"].clone()
}

/// An operator's order about the breaker.
pub(crate) fn order(proxy: &Proxy, what: &str, body: &Value) -> Response {
    let (admin, body) = (proxy.admin(), body.to_string());
    let path = format!("/breakers/{}/{what}", percent(NAME));
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n\r\n");
    client::once(admin, &format!("{head}{body}"))
}

/// An origin that fails always.
pub(crate) fn failing() -> Origin {
    Origin::start(|_, _| Reply::text(500, "no"))
}

/// Long enough for every exchange that was due to have been made twice.
pub(crate) fn settle() {
    wait::pass(Duration::from_millis(300));
}
