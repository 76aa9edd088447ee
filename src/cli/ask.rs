//! One request to the admin API of a running process.
//!
//! Enters: its address, and a token where one is configured. Leaves: what it answered, in the words
//! that a command prints. Plain HTTP/1.1 over one connection: the other end is ours.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a connection may take: the process is near.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long an answer may take: a reload waits for names and cores, and for one before it.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The largest answer that is read: a report of every complaint about a large file.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What to do where the token is not the one that the process has read.
const RETRY: &str = "it has the one that it read last; \
     send it SIGHUP, which needs none, or name a configuration that has that one";

/// What the process answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Every core serves the new generation; the report holds warnings.
    Active { line: String, report: String },
    /// The new configuration is refused, for these reasons.
    Refused(String),
    /// Nobody answered, or not with a verdict.
    Failed(String),
}

/// `127.0.0.1:9901`, also as the URL that a start prints.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare).replace("localhost:", "127.0.0.1:");
    bare.parse().map_err(|_| "an address and a port, such as 127.0.0.1:9901".to_owned())
}

/// `POST /reload`.
pub(super) fn reload(address: SocketAddr, token: Option<&str>) -> Answer {
    let address = reachable(address);
    match exchange(address, token) {
        Ok(response) => judge(&response).unwrap_or_else(|| {
            Answer::Failed(format!("{address} answered, but not as the admin API of fusebox does"))
        }),
        Err(error) => Answer::Failed(format!(
            "no answer from the admin API at {address}: {error}; is fusebox running there?"
        )),
    }
}

/// A process that listens on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

fn exchange(address: SocketAddr, token: Option<&str>) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(CONNECT_MAX))?;
    let token =
        token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "POST /reload HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: 0\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.take(BYTES_MAX).read_to_string(&mut response)?;
    Ok(response)
}

/// `None`: not an answer of ours.
fn judge(response: &str) -> Option<Answer> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let body: Value = serde_json::from_str(body).ok()?;
    let text = |key: &str| body.get(key)?.as_str().map(str::to_owned);
    match status {
        "200" => {
            let (generation, cores) = (body.get("generation")?, body.get("cores")?);
            let (took_ms, config) = (body.get("took_ms")?.as_f64()?, text("config")?);
            let line = format!(
                "{config}: generation {generation} active on {cores} of {cores} cores \
                 after {took_ms:.1} ms"
            );
            Some(Answer::Active { line, report: text("report")? })
        }
        "422" => text("report").map(Answer::Refused),
        // Whoever changes the token in the file presents the new one; the process has the old.
        "401" => Some(Answer::Failed(format!("the process wants another token: {RETRY}"))),
        _ => text("error").map(Answer::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_it_is_printed() {
        for text in ["127.0.0.1:9901", "http://127.0.0.1:9901/", "localhost:9901"] {
            assert_eq!(address(text).unwrap(), "127.0.0.1:9901".parse().unwrap());
        }
        assert_eq!(address("[::1]:1").unwrap(), "[::1]:1".parse().unwrap());
        assert!(address("9901").is_err());
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
    }

    #[test]
    fn answers_are_told_apart() {
        let ok = "HTTP/1.1 200 OK\r\na: b\r\n\r\n{\"generation\":5,\"cores\":8,\"took_ms\":1.94,\
                  \"config\":\"shop.jsonc\",\"report\":\"\"}";
        let line = "shop.jsonc: generation 5 active on 8 of 8 cores after 1.9 ms".to_owned();
        assert_eq!(judge(ok), Some(Answer::Active { line, report: String::new() }));
        let no =
            "HTTP/1.1 422 Unprocessable Entity\r\n\r\n{\"error\":\"x\",\"report\":\"error: x\"}";
        assert_eq!(judge(no), Some(Answer::Refused("error: x".to_owned())));
        let denied = "HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\":\"a token\"}";
        let Some(Answer::Failed(why)) = judge(denied) else { panic!("{denied}") };
        assert!(why.contains("token") && why.contains("SIGHUP"), "{why}");
        for foreign in ["", "HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP/1.1 200 OK\r\n\r\n{}"] {
            assert_eq!(judge(foreign), None);
        }
    }

    #[test]
    fn nobody_there_is_said_with_the_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let Answer::Failed(why) = reload(free, None) else { panic!("somebody answered") };
        assert!(why.starts_with(&format!("no answer from the admin API at {free}: ")), "{why}");
    }
}
