//! Host names of a configuration → addresses, off the data path.
//!
//! Enters: a [`Config`], and the table that is served now if there is one. Leaves: [`Names`], what
//! `table::compile` asks. All names are looked up at once and none is waited for longer than five
//! seconds; one that does not resolve keeps the addresses it had, or has none, and the rest goes
//! on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::config::Config;
use crate::table::Table;

/// How long a name is waited for: what resolvers by default give one server.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// The addresses of each (name, port), in the system's order.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<(String, u16), Vec<SocketAddr>>);

impl Names {
    /// The addresses of a host and port; none where the name did not resolve.
    #[must_use]
    pub(super) fn addresses(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        match host.parse::<IpAddr>() {
            Ok(literal) => vec![SocketAddr::new(literal, port)],
            Err(_) => self.0.get(&(host.to_owned(), port)).cloned().unwrap_or_default(),
        }
    }
}

/// Looks up every name of `config`; `serving` is the table whose addresses outlive a failure.
pub(super) async fn resolve(config: &Config, serving: Option<&Table>) -> Names {
    let mut lookups = JoinSet::new();
    for (host, port) in unresolved(config) {
        lookups.spawn(async move {
            let found = look_up(&host, port).await;
            (host, port, found)
        });
    }
    let mut names = Names::default();
    while let Some(done) = lookups.join_next().await {
        let Ok((host, port, found)) = done else { continue };
        let addresses = found.unwrap_or_else(|why| fall_back(&host, port, &why, serving));
        names.0.insert((host, port), addresses);
    }
    names
}

fn unresolved(config: &Config) -> BTreeSet<(String, u16)> {
    let services = config.http.routes.iter().flat_map(|route| &route.services);
    services
        .filter(|service| service.url.host.parse::<IpAddr>().is_err())
        .map(|service| (service.url.host.clone(), service.url.port))
        .collect()
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    match tokio::time::timeout(LOOK_UP_MAX, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOK_UP_MAX.as_secs())),
    }
}

fn fall_back(host: &str, port: u16, why: &str, serving: Option<&Table>) -> Vec<SocketAddr> {
    let name = format!("{host}:{port}");
    let known = serving
        .and_then(|table| table.targets.iter().find(|target| *target.name == *name))
        .map_or_else(Vec::new, |target| target.addresses.to_vec());
    if known.is_empty() {
        log::warn!("{name} does not resolve, requests to it fail: {why}");
    } else {
        log::warn!("{name} does not resolve, the addresses known before stay: {why}");
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_look_up_and_unknown_names_have_no_address() {
        let names = Names::default();
        assert_eq!(names.addresses("127.0.0.1", 80), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(names.addresses("::1", 8080), ["[::1]:8080".parse().unwrap()]);
        assert_eq!(names.addresses("users", 80), []);
    }
}
