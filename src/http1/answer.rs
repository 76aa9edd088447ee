//! Responses of our own: rendered cold, sent hot.
//!
//! Enters, when a table is compiled: a status and what to say. Leaves: [`Rendered`], bytes that
//! `write` copies into an output buffer, filling in what only the moment knows (`Date`,
//! `Retry-After`, `Connection`, JSON or text). Owns nothing that changes.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "rendering is cold; `write` only copies"
)]

use std::borrow::Cow;

/// A response of our own as ready bytes.
#[derive(Clone, Debug)]
pub struct Rendered {
    json: Option<Form>,
    text: Option<Form>,
    status: u16,
}

/// One representation.
#[derive(Clone, Debug)]
struct Form {
    /// Status line and fixed header fields, each with its CRLF; no blank line yet.
    head: Box<[u8]>,
    body: Box<[u8]>,
}

/// What the response says.
#[derive(Clone, Copy, Debug)]
pub enum Say<'a> {
    /// This text, whatever the client prefers.
    Text(&'a str),
    /// This JSON, whatever the client prefers.
    Json(&'a str),
    /// `{"error": message}`, or the message as text where the client prefers text.
    Message(&'a str),
}

/// Which representation a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    /// JSON: also where the client says nothing.
    Json,
    /// Plain text.
    Text,
}

/// Whether the connection goes on after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The client may send its next request.
    Keep,
    /// So it may, and is told so: HTTP/1.0 closes by default.
    KeepSaid,
    /// We close.
    Close,
}

/// Whether the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// Head and body.
    Whole,
    /// The head alone: the request was a `HEAD`.
    HeadOnly,
}

/// Whether a response says how long its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It does.
    Told,
    /// It does not: it answers a `HEAD`, and the body is not known.
    Untold,
}

/// The most bytes [`Rendered::write`] adds to head and body.
pub const EXTRA_MAX: usize = 128;

impl Rendered {
    /// Renders a response. `extra` holds further header lines, each ending in CRLF.
    #[must_use]
    pub fn new(status: u16, say: Say<'_>, extra: &str) -> Self {
        let (json, text) = match say {
            Say::Text(text) => (None, Some(Cow::Borrowed(text))),
            Say::Json(json) => (Some(Cow::Borrowed(json)), None),
            Say::Message(message) => {
                let json = serde_json::json!({ "error": message }).to_string();
                (Some(Cow::Owned(json)), Some(Cow::Borrowed(message)))
            }
        };
        Self {
            json: json.map(|body| Form::new(status, "application/json", &body, extra)),
            text: text.map(|body| Form::new(status, text_type(&body), &body, extra)),
            status,
        }
    }

    /// A response with these header lines (each ending in CRLF, none about length or framing) and
    /// this body.
    #[must_use]
    pub fn from_bytes(status: u16, lines: &[u8], body: &[u8], length: Length) -> Self {
        let told = format!("content-length: {}\r\n", body.len());
        let length = if bodiless(status) || length == Length::Untold { "" } else { &told };
        let line = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        let head = [line.as_bytes(), lines, length.as_bytes()].concat();
        let body = if bodiless(status) { &[] } else { body };
        let form = Form { head: head.into(), body: body.into() };
        Self { json: Some(form), text: None, status }
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// How many bytes [`Rendered::write`] adds at most.
    #[must_use]
    pub fn len_max(&self) -> usize {
        let len = |form: &Option<Form>| form.as_ref().map_or(0, |f| f.head.len() + f.body.len());
        len(&self.json).max(len(&self.text)) + EXTRA_MAX
    }

    /// How many bytes of body [`Rendered::write`] writes.
    #[must_use]
    pub fn body_len(&self, prefer: Prefer, send: Send) -> usize {
        match send {
            Send::Whole => self.form(prefer).map_or(0, |form| form.body.len()),
            Send::HeadOnly => 0,
        }
    }

    fn form(&self, prefer: Prefer) -> Option<&Form> {
        match prefer {
            Prefer::Json => self.json.as_ref().or(self.text.as_ref()),
            Prefer::Text => self.text.as_ref().or(self.json.as_ref()),
        }
    }

    /// Copies the response into `out` by way of `put`, which appends bytes; `date` is a whole line.
    pub fn write(
        &self,
        prefer: Prefer,
        send: Send,
        after: After,
        date: &[u8],
        retry_after_s: Option<u64>,
        mut put: impl FnMut(&[u8]),
    ) {
        let Some(form) = self.form(prefer) else { return };
        put(&form.head);
        put(date);
        if let Some(seconds) = retry_after_s {
            let mut digits = [0; 20];
            put(b"retry-after: ");
            put(decimal(seconds, &mut digits));
            put(b"\r\n");
        }
        match after {
            After::Keep => {}
            After::KeepSaid => put(b"connection: keep-alive\r\n"),
            After::Close => put(b"connection: close\r\n"),
        }
        put(b"\r\n");
        if send == Send::Whole {
            put(&form.body);
        }
    }
}

impl Form {
    fn new(status: u16, content_type: &str, body: &str, extra: &str) -> Self {
        let reason = reason(status);
        // RFC 9110 §8.6: no Content-Length where a body cannot be.
        let head = if bodiless(status) {
            format!("HTTP/1.1 {status} {reason}\r\n{extra}")
        } else {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} {reason}\r\ncontent-type: {content_type}\r\n\
                 content-length: {length}\r\n{extra}"
            )
        };
        let body = if bodiless(status) { "" } else { body };
        Self { head: head.into_bytes().into(), body: body.as_bytes().into() }
    }
}

/// Seed A: text that starts with `<` is a page.
fn text_type(body: &str) -> &'static str {
    if body.starts_with('<') { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" }
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Unknown")
}

const fn bodiless(status: u16) -> bool {
    status < 200 || status == 204 || status == 304
}

/// Writes `number` in decimal into the end of `digits` and returns the part written.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(rendered: &Rendered, prefer: Prefer, send: Send, after: After) -> String {
        let mut out = Vec::new();
        let date = b"date: now\r\n";
        rendered.write(prefer, send, after, date, Some(150), |bytes| out.extend_from_slice(bytes));
        assert!(out.len() <= rendered.len_max());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_is_json_unless_the_client_prefers_text() {
        let refusal = Rendered::new(503, Say::Message("Service unavailable"), "");
        assert_eq!(
            written(&refusal, Prefer::Json, Send::Whole, After::Keep),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
             content-length: 31\r\ndate: now\r\nretry-after: 150\r\n\r\n\
             {\"error\":\"Service unavailable\"}"
        );
        assert_eq!(
            written(&refusal, Prefer::Text, Send::HeadOnly, After::Close),
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: 19\r\ndate: now\r\nretry-after: 150\r\n\
             connection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_fixed_form_is_sent_whatever_the_client_prefers() {
        let busy = Rendered::new(503, Say::Text("Busy."), "");
        for prefer in [Prefer::Json, Prefer::Text] {
            let text = written(&busy, prefer, Send::Whole, After::Keep);
            assert!(text.ends_with("\r\n\r\nBusy.") && text.contains("text/plain"), "{text}");
        }
        let page = Rendered::new(503, Say::Text("<h1>no</h1>"), "");
        assert!(written(&page, Prefer::Text, Send::Whole, After::Keep).contains("text/html"));
    }

    #[test]
    fn a_status_without_a_body_has_none() {
        let nothing = Rendered::new(204, Say::Text("never"), "");
        let text = written(&nothing, Prefer::Json, Send::Whole, After::Keep);
        assert_eq!(text, "HTTP/1.1 204 No Content\r\ndate: now\r\nretry-after: 150\r\n\r\n");
    }

    #[test]
    fn decimals_are_exact_at_both_ends() {
        let mut digits = [0; 20];
        assert_eq!(decimal(0, &mut digits), b"0");
        assert_eq!(decimal(u64::MAX, &mut digits), b"18446744073709551615");
    }
}
