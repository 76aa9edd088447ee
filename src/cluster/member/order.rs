//! What operators order, wherever they do.
//!
//! Enters: an override that was set or taken back here, and the order that the store holds. Leaves:
//! the same order for the store, and for the breaker. The last one stands; of two at once, the one
//! that the store holds. An override that ends by itself ends everywhere by itself, untold.

use super::super::record::Order;
use super::super::register::Put;
use super::{Member, millis};
use crate::breaker::circuit::Override;
use crate::clock::Now;

impl Member {
    /// Hears an operator's order; its remaining time is that at `sent`.
    pub(in crate::cluster) fn hear_order(&mut self, order: Order, sent: Now, now: Now) {
        self.asleep = None;
        // The store has forgotten a newer one if it holds an older: then it is told again.
        self.order_stored = order.revision;
        self.order_put = now;
        let rival = order.revision == self.order.revision && order.author != self.order.author;
        let own = order.author == self.instance && order.revision == self.order.revision;
        if own
            || order.revision < self.order.revision
            || !(rival || order.revision > self.order.revision)
        {
            return;
        }
        self.order = order;
        let until = order.remaining.map(|left| sent.after(left));
        let over = until.is_some_and(|until| until <= now);
        let forced = order.forced.filter(|_| !over);
        self.breaker.force(forced.map(|forced| Override { forced, until }));
        self.forced = self.breaker.forced(now);
    }

    pub(super) fn notice_order(&mut self, now: Now) {
        let forced = self.breaker.forced(now);
        if forced == self.forced {
            return;
        }
        let over = self.forced.and_then(|it| it.until).is_some_and(|until| until <= now);
        if forced.is_some() || !over {
            self.order = Order {
                revision: self.order.revision.max(self.order_stored) + 1,
                forced: forced.map(|it| it.forced),
                remaining: None,
                author: self.instance,
            };
        }
        self.forced = forced;
    }

    /// The order that the store is to hold: a new one, or one that holds before it expires there.
    pub(super) fn put_order(&mut self, now: Now) -> Option<Put> {
        let again = self.forced.is_some() && now.since(self.order_put) >= self.ttl() / 3;
        if self.order.revision <= self.order_stored && !again {
            return None;
        }
        self.order_put = now;
        let remaining = self.forced.and_then(|it| it.until).map(|until| until.since(now));
        // One that is over is told as none: without its end it would be one that never ends.
        let forced = self.forced.map(|it| it.forced);
        Some(Put {
            field: format!("o:{:016x}", self.id),
            rank: self.order.revision,
            ttl: millis(remaining.unwrap_or_else(|| self.ttl())).max(1),
            loud: self.order.revision > self.order_stored,
            value: Order { forced, remaining, ..self.order }.text(),
        })
    }
}
