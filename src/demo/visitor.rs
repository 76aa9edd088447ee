//! A client of one service: asks again and again, and tells the board how it went.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::board::{Board, End, Service};

/// Forty requests a second.
const PAUSE: Duration = Duration::from_millis(25);

/// The largest answer that is read.
const ANSWER_MAX: usize = 4096;

/// Visits `service` for ever.
pub(super) async fn visit(proxy: SocketAddr, service: Service, board: Rc<Board>) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connection = None;
    loop {
        ticks.tick().await;
        let end = match ask(&mut connection, proxy, service).await {
            Ok(200) => End::Ok,
            Ok(503) => End::Refused,
            Ok(_) => End::Failed,
            Err(_) => {
                connection = None;
                End::Failed
            }
        };
        board.count(service, end);
    }
}

/// One request on the connection, or on a new one; returns the status.
async fn ask(
    connection: &mut Option<TcpStream>,
    proxy: SocketAddr,
    service: Service,
) -> io::Result<u16> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(TcpStream::connect(proxy).await?),
    };
    let name = service.name();
    let request = format!("GET /{name} HTTP/1.1\r\nHost: demo\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_MAX);
    loop {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(status) = complete(&answer) {
            return Ok(status);
        }
    }
}

/// The status of `answer`, once all of it is there.
fn complete(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head.to_ascii_lowercase();
    let length = length.split_once("content-length:")?.1.lines().next()?.trim().parse().ok();
    (length == Some(body.len())).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nBusy.";
        for cut in 0..answer.len() {
            assert_eq!(complete(&answer[..cut]), None);
        }
        assert_eq!(complete(answer), Some(503));
    }
}
