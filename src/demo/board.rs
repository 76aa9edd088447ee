//! What the demo says: who is where, each move of a breaker, one line of counts a second.

use std::cell::Cell;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval_at};

use crate::clock::{self, Now};
use crate::control::events::Event;
use crate::control::{Running, VERSION};

const SECOND: Duration = Duration::from_secs(1);

/// The two services of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Users,
    Orders,
}

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Ok,
    Failed,
    Refused,
}

/// Counts of the last second, and the time everything is told by.
#[derive(Debug)]
pub(super) struct Board {
    began: Now,
    users: Counts,
    orders: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    ok: Cell<u32>,
    failed: Cell<u32>,
    refused: Cell<u32>,
}

impl Service {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Orders => "orders",
        }
    }
}

impl Board {
    pub(super) fn new(began: Now) -> Self {
        Self { began, users: Counts::default(), orders: Counts::default() }
    }

    /// Says who is where.
    pub(super) fn welcome(&self, running: &Running, origins: &[(&str, SocketAddr)]) {
        say(format_args!("fusebox {VERSION}   {}", running.plane().driver));
        for address in running.addresses() {
            say(format_args!("  proxy    http://{address}/users  http://{address}/orders"));
        }
        if let Some(address) = running.admin_address() {
            say(format_args!("  admin    http://{address}/breakers"));
        }
        for (name, address) in origins {
            say(format_args!("  origin   {name:<6}  http://{address}/"));
        }
        say(format_args!("users is well; orders fails for 4 s of every 12 s · Ctrl-C ends"));
    }

    pub(super) fn count(&self, service: Service, end: End) {
        let counts = match service {
            Service::Users => &self.users,
            Service::Orders => &self.orders,
        };
        let count = match end {
            End::Ok => &counts.ok,
            End::Failed => &counts.failed,
            End::Refused => &counts.refused,
        };
        count.set(count.get() + 1);
    }

    /// Says what the breakers do, for ever.
    pub(super) async fn follow(self: Rc<Self>, mut events: Receiver<Arc<Event>>) {
        loop {
            match events.recv().await {
                Ok(event) => self.moved(&event),
                Err(RecvError::Lagged(missed)) => say(format_args!("{missed} moves were missed")),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn moved(&self, event: &Event) {
        let (from, to) = (event.from.replace('_', "-"), event.to.replace('_', "-"));
        let arrow = format!("{from} → {to}");
        let (name, mut reason) = (&event.breaker, event.reason.replace('_', " "));
        if event.from == "closed" {
            reason = format!("{} {reason}", event.counts.failures);
        }
        say(format_args!("{}  {name:<11}  {arrow:<19}  {reason}", self.time()));
    }

    /// Says once a second how the requests ended, for ever.
    pub(super) async fn summarise(self: Rc<Self>) {
        let mut seconds = interval_at(Instant::now() + SECOND, SECOND);
        loop {
            seconds.tick().await;
            let (users, orders) = (self.users.take(), self.orders.take());
            say(format_args!("{}  users {users}   orders {orders}", self.time()));
        }
    }

    fn time(&self) -> String {
        format!("{:6.1} s", clock::now().since(self.began).as_secs_f64())
    }
}

impl Counts {
    /// The counts since the last call.
    fn take(&self) -> String {
        let (ok, failed, refused) = (self.ok.take(), self.failed.take(), self.refused.take());
        format!("{ok:3} ok {failed:3} failed {refused:3} refused")
    }
}

fn say(line: Arguments<'_>) {
    let mut output = io::stdout().lock();
    // Nobody reads any more: the demo has nothing else to do.
    if writeln!(output, "{line}").and_then(|()| output.flush()).is_err() {
        std::process::exit(0);
    }
}
