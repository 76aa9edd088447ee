//! The proxy's admin API, as an operator's tools would ask it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Deserialize;

use crate::message::{Body, Reader, Side};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the admin API listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admin(SocketAddr);

/// One breaker, of what `GET /breakers` tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Breaker {
    pub(crate) name: String,
    pub(crate) state: String,
}

#[derive(Deserialize)]
struct Listing {
    breakers: Vec<Breaker>,
}

/// The numbers of `GET /metrics`, by name and labels as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Admin {
    pub(crate) const fn at(address: SocketAddr) -> Self {
        Self(address)
    }

    /// Where it listens.
    pub(crate) const fn address(self) -> SocketAddr {
        self.0
    }

    /// The body of `path`, if it is answered 200.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>, String> {
        fetch(self.0, path).map_err(|error| format!("admin API, {path}: {error}"))
    }

    /// Every breaker.
    pub(crate) fn breakers(&self) -> Result<Vec<Breaker>, String> {
        let body = self.get("/breakers")?;
        let listing: Listing = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok(listing.breakers)
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> Result<Metrics, String> {
        let body = self.get("/metrics")?;
        Ok(Metrics::read(&String::from_utf8_lossy(&body)))
    }

    /// The number of the configuration that is served.
    pub(crate) fn generation(&self) -> Result<u64, String> {
        let metrics = self.metrics()?;
        let number = metrics.sum("fusebox_config_generation", &[]);
        if metrics.sum("fusebox_config_last_reload_success", &[]) < 1.0 {
            return Err("the last reload was refused".to_owned());
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        Ok(number as u64)
    }
}

/// The body of `path`, if it is answered 200, on a connection of its own.
pub(crate) fn fetch(address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(text)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut reader = Reader::new(Side::Answers, Body::Keep(Vec::new()));
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut chunk).map_err(text)?;
        let mut bytes = chunk.get(..count).unwrap_or_default();
        let message = if count == 0 {
            Some(reader.end().ok_or("the answer ends early")?)
        } else {
            reader.read(&mut bytes).map_err(|_| "the answer is malformed")?
        };
        match message {
            Some(message) if message.status == 200 => return Ok(reader.body().to_vec()),
            Some(message) => return Err(format!("answered {}", message.status)),
            None => {}
        }
    }
}

impl Metrics {
    fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of the samples of `name` that carry all `labels`, each written `key="value"`.
    pub(crate) fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |sample: &str| {
            let (own, rest) = sample.split_once('{').unwrap_or((sample, ""));
            own == name && labels.iter().all(|label| rest.contains(label))
        };
        self.0.iter().filter(|(sample, _)| fits(sample)).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_samples_that_carry_the_labels() {
        let text = "# HELP x y\nx{a=\"1\",b=\"2\"} 3\nx{a=\"1\",b=\"3\"} 4\nx{a=\"2\"} 9\nxy 1\n";
        let metrics = Metrics::read(text);
        assert_eq!(metrics.sum("x", &["a=\"1\""]), 7.0);
        assert_eq!(metrics.sum("x", &["a=\"1\"", "b=\"3\""]), 4.0);
        assert_eq!((metrics.sum("x", &[]), metrics.sum("xy", &[])), (16.0, 1.0));
    }
}
