//! What the library understands of a connection's bytes, in the words of `recorder`.

use fusebox::config::PathRules;
use fusebox::http1::field::Fields;
use fusebox::http1::framing::{Body, Fed, Framing, Part};
use fusebox::http1::head::{self, Bounds, Persist, Request, RequestFault};
use fusebox::http1::trailer;
use fusebox::table::spelling;

use crate::recorder::text;

/// What a connection came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Understood {
    /// Whole requests that may be forwarded.
    pub(crate) requests: Vec<String>,
    pub(crate) end: End,
}

/// Why nothing more was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There was no more.
    Bytes,
    /// The client wanted it so.
    Close,
    /// A head was refused.
    Head(RequestFault),
    /// A body was.
    Body,
}

/// The limits of a proxy whose configuration names none.
const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, fields: 100, target: 8 * 1024 };

/// Reads `parts` as they come.
pub(crate) fn understood<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Understood {
    let (mut requests, mut buf) = (Vec::new(), Vec::new());
    let mut running: Option<(Running, Body)> = None;
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            let Some((request, body)) = &mut running else {
                match head::request(&buf, &BOUNDS, &mut Fields::new()) {
                    Ok(Some(head)) => {
                        running = Some((Running::new(&head, &buf), Body::new(head.framing)));
                        buf.drain(..head.len);
                        continue;
                    }
                    Ok(None) => break,
                    Err(fault) => return Understood { requests, end: End::Head(fault) },
                }
            };
            if !body.is_over() {
                let Running { payload, trailers, .. } = request;
                let fed = body.feed(&buf, |part, range| match part {
                    Part::Data => payload.extend_from_slice(&buf[range]),
                    Part::Trailer => trailers.extend_from_slice(&buf[range]),
                    Part::Hop => {}
                });
                match fed {
                    Fed::Bad => return Understood { requests, end: End::Body },
                    Fed::Done(used) => drop(buf.drain(..used)),
                    Fed::More => {
                        buf.clear();
                        break;
                    }
                }
            }
            if let Some(shape) = request.shape() {
                requests.push(shape);
            }
            if request.persist == Persist::Close {
                return Understood { requests, end: End::Close };
            }
            running = None;
        }
    }
    Understood { requests, end: End::Bytes }
}

/// A request whose body is on its way.
struct Running {
    line: String,
    framing: Framing,
    persist: Persist,
    payload: Vec<u8>,
    trailers: Vec<u8>,
}

impl Running {
    fn new(head: &Request, bytes: &[u8]) -> Self {
        let [method, path, query] =
            [head.method, head.path, head.query].map(|span| span.of_bytes(bytes));
        let routed = path != b"*" && method != b"TRACE";
        let served = routed && spelling::clean(path, PathRules::Normal);
        let line = [method, b" ", path, query].concat();
        Self {
            line: if served { text(&line) } else { String::new() },
            framing: head.framing,
            persist: head.persist,
            payload: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// `None`: it is answered by us.
    fn shape(&self) -> Option<String> {
        let Self { line, framing, payload, .. } = self;
        let mut trailers = "";
        trailer::kept(&self.trailers, |_| trailers = " (trailers)");
        let body = match framing {
            Framing::Chunked => format!("chunked:{}{trailers}", text(payload)),
            Framing::Exact(length) => format!("{length}:{}", text(payload)),
            Framing::None | Framing::UntilClose => "-".to_owned(),
        };
        (!line.is_empty()).then(|| format!("{line} {body}"))
    }
}
