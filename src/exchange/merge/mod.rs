//! The answers of several services → one answer.
//!
//! Enters: what each service of a route gave, in merge order: whole answers as bytes, or failures
//! of ours. Leaves: the response for the client, or why there is none. Owns nothing; pure.
//!
//! Only a body that must be united with another is parsed, and of it only the outermost object:
//! values are carried over as the bytes they came in, so an integer keeps every digit.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "cold: a fan-out holds whole bodies anyway"
)]

mod headers;
mod union;

use std::borrow::Cow;

use headers::value;
use union::{Kind, Union};

use crate::config::Merge;
use crate::http1::answer::Rendered;

/// One service's part in a fan-out.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The service's name.
    pub service: &'a str,
    /// Whether it takes part in the merge.
    pub merge: Merge,
    /// What it gave.
    pub reply: Reply<'a>,
}

/// What a service gave.
#[derive(Clone, Copy, Debug)]
pub enum Reply<'a> {
    /// Its answer.
    Answer(Answer<'a>),
    /// None; this response of ours stands for it, and counts as an error whatever its status.
    Failure(&'a Rendered),
}

/// A whole answer, its body decoded from any transfer coding.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The final status.
    pub status: u16,
    /// All header lines as they came, each ending in CRLF.
    pub headers: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

/// What the client gets.
#[derive(Debug)]
pub enum Merged<'a> {
    /// This response.
    Response(Response<'a>),
    /// This failure of ours stands for all.
    Failure(&'a Rendered),
    /// A 500 of ours with this text: the answers do not go together.
    Conflict(String),
}

/// A merged response; its length and framing are the caller's.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status.
    pub status: u16,
    /// The value of `Content-Type`, if the body has one.
    pub content_type: Option<&'a [u8]>,
    /// Further header lines, each ending in CRLF.
    pub headers: Vec<u8>,
    /// The body.
    pub body: Cow<'a, [u8]>,
}

/// Merges `parts`. Services whose merge is off leave no trace; if none is left, the answer is 204.
#[must_use]
pub fn merge<'a>(parts: &[Part<'a>]) -> Merged<'a> {
    let mut answers = Vec::with_capacity(parts.len());
    for part in parts.iter().filter(|part| part.merge == Merge::Union) {
        match part.reply {
            Reply::Failure(ours) => return Merged::Failure(ours),
            // An error speaks for itself: of the other services it says nothing.
            Reply::Answer(answer) if answer.status >= 400 => {
                return Merged::Response(response(answer.status, Vec::new(), Body::whole(&answer)));
            }
            Reply::Answer(answer) => answers.push((part.service, answer)),
        }
    }
    match status(&answers).and_then(|status| Ok((status, unite(&answers)?))) {
        Ok((status, body)) => Merged::Response(response(status, headers::merge(&answers), body)),
        Err(conflict) => Merged::Conflict(conflict),
    }
}

fn response<'a>(status: u16, mut headers: Vec<u8>, body: Body<'a>) -> Response<'a> {
    if let Some(encoding) = body.encoding {
        headers.extend([b"content-encoding: ", encoding, b"\r\n"].concat());
    }
    Response { status, content_type: body.content_type, headers, body: body.bytes }
}

/// A body with what describes its bytes.
#[derive(Default)]
struct Body<'a> {
    content_type: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Body<'a> {
    /// The body of one service as it is. No coding was asked for, but one that was applied all the
    /// same must be named.
    fn whole(answer: &Answer<'a>) -> Self {
        Self {
            content_type: value(answer, "content-type"),
            encoding: value(answer, "content-encoding"),
            bytes: Cow::Borrowed(answer.body),
        }
    }
}

/// Equal statuses are kept, different successes are a 200, a redirect goes with nothing else.
fn status(answers: &[(&str, Answer<'_>)]) -> Result<u16, String> {
    let mut answers = answers.iter().map(|(service, answer)| (service, answer.status));
    let Some((_, mut merged)) = answers.next() else { return Ok(204) };
    for (service, status) in answers {
        let successes = merged / 100 == 2 && status / 100 == 2;
        if merged != status && !successes {
            return Err(format!(
                "cannot merge the response of {service}: its status is {status}, \
                 the status of the current response is {merged}"
            ));
        }
        if merged != status {
            merged = 200;
        }
    }
    Ok(merged)
}

/// A body that stands alone passes as it is; several must be objects.
fn unite<'a>(answers: &[(&str, Answer<'a>)]) -> Result<Body<'a>, String> {
    let has_body = |answer: &Answer<'_>| !matches!(answer.status, 204 | 205 | 304);
    let mut bodies =
        answers.iter().filter(|(_, answer)| has_body(answer) && !answer.body.is_empty());
    let Some((_, first)) = bodies.next() else { return Ok(Body::default()) };
    let mut bodies = bodies.peekable();
    if bodies.peek().is_none() {
        return Ok(Body::whole(first));
    }
    let mut union = Union::default();
    let current = union.add(first);
    for (service, answer) in bodies {
        let kind = union.add(answer);
        if (current, kind) != (Kind::Object, Kind::Object) {
            return Err(format!(
                "cannot merge the {} response of {service}: the current response is {}",
                kind.name(),
                current.with_article()
            ));
        }
    }
    let bytes = Cow::Owned(union.write());
    Ok(Body { content_type: Some(b"application/json"), encoding: None, bytes })
}

#[cfg(test)]
mod tests;
