//! What operators order of a breaker: to hold, whatever it has decided, or to begin anew.
//!
//! Enters: `POST /breakers/{name}/override` and `/reset`. Leaves: the breaker as it then stands,
//! and a line in the log. An override stands above state and mode; the state goes on below it. Both
//! are carried out here, on the control plane's one thread, so that no two of them meet.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::admin::{refusal, shown, unknown};
use super::plane::Plane;
use super::view::forced_word;
use crate::breaker::circuit::{Forced, Override};
use crate::clock;
use crate::config::span::Span;
use crate::config::units::shown as span;
use crate::table::Notice;

/// Characters of a reason that are kept.
const REASON_MAX: usize = 500;

/// The log target of what is done to breakers.
const TARGET: &str = "fusebox::breaker";

/// The body of an override.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// `force_open`, `force_closed` or `none`.
    state: String,
    /// How long it holds. Default: until it is taken back.
    ttl: Option<Span>,
    /// Why, for whoever looks.
    reason: Option<String>,
}

pub(super) async fn force(
    State(plane): State<Arc<Plane>>,
    name: Result<Path<String>, PathRejection>,
    body: Bytes,
) -> Response {
    let table = plane.live.current();
    let Ok(Path(name)) = name else { return unknown() };
    let Some((_, found)) = table.breaker_named(&name) else { return unknown() };
    let order = match serde_json::from_slice::<Order>(&body) {
        Ok(order) => order,
        Err(error) if error.is_data() => {
            return refusal(StatusCode::UNPROCESSABLE_ENTITY, &format!("not an order: {error}"));
        }
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &format!("not JSON: {error}")),
    };
    let forced = match order.state.as_str() {
        "force_open" => Some(Forced::Open),
        "force_closed" => Some(Forced::Closed),
        "none" => None,
        _ => {
            let says = "`state` is none of `force_open`, `force_closed`, `none`";
            return refusal(StatusCode::UNPROCESSABLE_ENTITY, says);
        }
    };
    let until = order.ttl.map(|Span(ttl)| clock::now().after(ttl));
    let reason = order.reason.map(|reason| reason.chars().take(REASON_MAX).collect::<String>());
    let held = order.ttl.filter(|_| forced.is_some());
    let held = held.map(|Span(ttl)| format!(" for {}", span(ttl))).unwrap_or_default();
    let why = reason.as_ref().map(|why| format!(": {}", why.escape_debug())).unwrap_or_default();
    log::warn!(target: TARGET, "{name}  override {}{held}{why}", forced_word(forced));
    plane.journal.overridden(&name, reason.filter(|_| forced.is_some()));
    found.breaker.force(forced.map(|forced| Override { forced, until }));
    shown(&plane, &table, &name)
}

pub(super) async fn reset(
    State(plane): State<Arc<Plane>>,
    name: Result<Path<String>, PathRejection>,
    _body: Bytes,
) -> Response {
    let table = plane.live.current();
    let Ok(Path(name)) = name else { return unknown() };
    let Some((breaker, found)) = table.breaker_named(&name) else { return unknown() };
    let transition = found.breaker.reset(clock::now());
    (plane.report)(Notice { table: Arc::clone(&table), breaker, transition });
    shown(&plane, &table, &name)
}
