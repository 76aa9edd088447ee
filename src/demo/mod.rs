//! A proxy, two origins and their clients in one process, for the first minute.
//!
//! Enters: how long to run, if not for ever. Leaves: what happens, line by line, on standard
//! output. Owns two origins on loopback, of which `orders` fails for some seconds again and again,
//! and one client for each. Needs no file, network or privilege; the rest is the real proxy.

mod board;
mod origin;
mod visitor;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::task::LocalSet;

use crate::clock;
use crate::config::{self, Config};
use crate::control::source::Source;
use crate::control::{self, Running, StartError};

use board::{Board, Service};
use origin::{Health, Origin};

/// When `orders` fails: for 4 s of every 12 s, the first time after 2 s.
const SICK: Health = Health { period: Duration::from_secs(12), from: 2, to: 6 };

/// Never.
const WELL: Health = Health { period: Duration::from_secs(1), from: 0, to: 0 };

/// Runs the demo until Ctrl-C, or for `span`, and then ends the process with 0.
pub fn run(span: Option<Duration>) -> Result<Infallible, StartError> {
    let runtime = control::runtime()?;
    LocalSet::new().block_on(&runtime, show(span))?;
    std::process::exit(0)
}

async fn show(span: Option<Duration>) -> Result<(), StartError> {
    let began = clock::now();
    let users = Origin::start(WELL, began).await.map_err(no_origin)?;
    let orders = Origin::start(SICK, began).await.map_err(no_origin)?;
    let running = control::start(configuration(&users, &orders)?, Source::Builtin).await?;
    let board = Rc::new(Board::new(began));
    board.welcome(&running, &[("users", users.address()), ("orders", orders.address())]);
    let Some(&proxy) = running.addresses().first() else {
        return Err(StartError("the demo's proxy has no address".to_owned()));
    };
    for service in [Service::Users, Service::Orders] {
        tokio::task::spawn_local(visitor::visit(proxy, service, Rc::clone(&board)));
    }
    tokio::task::spawn_local(Rc::clone(&board).follow(running.events()));
    tokio::task::spawn_local(Rc::clone(&board).summarise());
    if let Some(span) = span {
        end_after(span, &running);
    }
    running.serve_until_signal().await;
    Ok(())
}

fn end_after(span: Duration, running: &Running) {
    let plane = std::sync::Arc::clone(running.plane());
    tokio::task::spawn_local(async move {
        tokio::time::sleep(span).await;
        plane.stop();
    });
}

/// The demo's configuration, through the same door as an operator's.
fn configuration(users: &Origin, orders: &Origin) -> Result<Config, StartError> {
    let text = json!({
        "listen": "127.0.0.1:0",
        "admin": { "listen": "127.0.0.1:0" },
        // The board tells what happens.
        "log": { "access": "off" },
        "http": {
            "circuitBreaker": { "maxErrors": 5, "duration": "5 seconds" },
            "routes": {
                "/users": { "GET": {
                    "services": { "users": { "url": format!("http://{}/", users.address()) } },
                } },
                "/orders": { "GET": {
                    "services": { "orders": { "url": format!("http://{}/", orders.address()) } },
                    "circuitBreaker": {
                        "maxFailures": 5, "timeWindow": "10 seconds", "resetTimeout": "2 seconds",
                        "timeout": "1 second",
                    },
                } },
            },
        },
    });
    let text = text.to_string();
    config::load(&text).map(|(config, _)| config).map_err(|complaints| {
        let colour = config::Colour::Plain;
        StartError(config::render("the demo", &text, &complaints, colour))
    })
}

#[expect(clippy::needless_pass_by_value, reason = "fits `map_err`")]
fn no_origin(error: std::io::Error) -> StartError {
    StartError(format!("cannot start an origin of the demo: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_demos_configuration_is_accepted() {
        let origin = Origin::start(WELL, clock::now()).await.unwrap();
        let config = configuration(&origin, &origin).unwrap();
        assert!(config.http.routes.iter().all(|route| route.breaker.is_some()));
    }

    #[test]
    fn orders_falls_ill_early_enough_to_be_seen_and_heals() {
        let at = |seconds| SICK.is_ill(Duration::from_secs(seconds));
        assert!(!at(0) && at(2) && at(5) && !at(6) && !at(13) && at(14) && !at(18));
        assert!((0..100).all(|seconds| !WELL.is_ill(Duration::from_secs(seconds))));
    }
}
