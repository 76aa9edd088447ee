//! Bytes → messages: where a request or an answer ends, and what its head said.
//!
//! Enters: bytes as they arrive. Leaves: a [`Message`] for each that is complete. A message that
//! arrives in one piece, as most do, is read where it lies. Lenient where a proxy must not be: the
//! peers of a load test are ours or known.

/// The longest head that is waited for.
const HEAD_MAX: usize = 64 * 1024;

/// Fields of a head at most.
const FIELDS_MAX: usize = 64;

/// A complete message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The status of an answer; 0 for a request.
    pub(crate) status: u16,
    /// The path of a request.
    pub(crate) path: String,
    /// Bytes of the body.
    pub(crate) length: u64,
    /// Whether the connection goes on.
    pub(crate) goes_on: bool,
    /// The number in `x-sent`; 0 without.
    pub(crate) stamp: u64,
    /// The digest of the body, where it is asked for.
    pub(crate) digest: u64,
}

/// Which kind of message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Requests, as an origin reads them.
    Requests,
    /// Answers, as a client reads them.
    Answers,
}

/// What does not follow the rules of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads one message after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    side: Side,
    part: Part,
    head: Vec<u8>,
    message: Message,
    body: Body,
}

/// What a reader does with bodies.
#[derive(Debug)]
pub(crate) enum Body {
    /// Counts them.
    Count,
    /// Digests them.
    Digest,
    /// Keeps the last one.
    Keep(Vec<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Head,
    Exact(u64),
    UntilEnd,
    Chunk(Chunk),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    /// The rest of a size's line, of which a part is read.
    Line(u64),
    Data(u64),
    /// The line end behind data.
    After,
    /// A line behind the last chunk, so long already.
    Trailer(u64),
}

impl Reader {
    pub(crate) fn new(side: Side, body: Body) -> Self {
        Self { side, part: Part::Head, head: Vec::new(), message: Message::nothing(), body }
    }

    /// The body of the last message, if it is kept.
    pub(crate) fn body(&self) -> &[u8] {
        match &self.body {
            Body::Keep(bytes) => bytes,
            Body::Count | Body::Digest => &[],
        }
    }

    /// Reads from the front of `bytes`; what it has used is cut off.
    pub(crate) fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Malformed> {
        while !bytes.is_empty() {
            let complete = match self.part {
                Part::Head => self.read_head(bytes)?,
                Part::Exact(left) => {
                    let taken = self.take_body(bytes, left);
                    self.part = Part::Exact(left - taken);
                    left == taken
                }
                Part::UntilEnd => {
                    self.take_body(bytes, u64::MAX);
                    false
                }
                Part::Chunk(chunk) => self.read_chunk(chunk, bytes)?,
            };
            if complete {
                self.part = Part::Head;
                return Ok(Some(std::mem::replace(&mut self.message, Message::nothing())));
            }
        }
        Ok(None)
    }

    /// The end of the connection: the message that it completes, if any.
    pub(crate) fn end(&mut self) -> Option<Message> {
        (self.part == Part::UntilEnd).then(|| {
            self.part = Part::Head;
            std::mem::replace(&mut self.message, Message::nothing())
        })
    }

    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<bool, Malformed> {
        if self.head.is_empty() {
            if let Some((length, framing)) = self.parse(bytes)? {
                *bytes = bytes.get(length..).unwrap_or_default();
                return Ok(self.begin(framing));
            }
            self.head.extend_from_slice(bytes);
            *bytes = &[];
            return Ok(false);
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let head = std::mem::take(&mut self.head);
        if let Some((length, framing)) = self.parse(&head)? {
            *bytes = bytes.get(length.saturating_sub(before)..).unwrap_or_default();
            return Ok(self.begin(framing));
        }
        self.head = head;
        *bytes = &[];
        if self.head.len() > HEAD_MAX { Err(Malformed) } else { Ok(false) }
    }

    /// The length of the head at the front of `bytes`, and what follows it.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<(usize, Part)>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let (parsed, fields) = match self.side {
            Side::Answers => {
                let mut head = httparse::Response::new(&mut fields);
                let parsed = head.parse(bytes).map_err(|_why| Malformed)?;
                self.message.status = head.code.unwrap_or(0);
                (parsed, head.headers)
            }
            Side::Requests => {
                let mut head = httparse::Request::new(&mut fields);
                let parsed = head.parse(bytes).map_err(|_why| Malformed)?;
                if parsed.is_complete() {
                    head.path.unwrap_or("/").clone_into(&mut self.message.path);
                }
                (parsed, head.headers)
            }
        };
        let httparse::Status::Complete(length) = parsed else { return Ok(None) };
        let none = self.side == Side::Requests || matches!(self.message.status, 204 | 304);
        let mut framing = if none { Part::Exact(0) } else { Part::UntilEnd };
        for field in fields {
            let name = field.name;
            if name.eq_ignore_ascii_case("content-length") {
                framing = Part::Exact(number(field.value).ok_or(Malformed)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Part::Chunk(Chunk::Size(0));
            } else if name.eq_ignore_ascii_case("connection") {
                self.message.goes_on = !field.value.eq_ignore_ascii_case(b"close");
            } else if name.eq_ignore_ascii_case("x-sent") {
                self.message.stamp = number(field.value).unwrap_or(0);
            }
        }
        self.message.goes_on &= framing != Part::UntilEnd;
        Ok(Some((length, framing)))
    }

    /// Begins the body; true when there is none, and the message complete.
    fn begin(&mut self, framing: Part) -> bool {
        if let Body::Keep(bytes) = &mut self.body {
            bytes.clear();
        }
        if self.side == Side::Answers && (100..200).contains(&self.message.status) {
            self.message = Message::nothing(); // an interim answer: the real one follows
            return false;
        }
        self.part = framing;
        framing == Part::Exact(0)
    }

    fn take_body(&mut self, bytes: &mut &[u8], most: u64) -> u64 {
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        let (taken, rest) = bytes.split_at(count);
        match &mut self.body {
            Body::Count => {}
            Body::Digest => self.message.digest = digest(self.message.digest, taken),
            Body::Keep(kept) => kept.extend_from_slice(taken),
        }
        *bytes = rest;
        self.message.length += count as u64;
        count as u64
    }

    fn read_chunk(&mut self, chunk: Chunk, bytes: &mut &[u8]) -> Result<bool, Malformed> {
        if let Chunk::Data(left) = chunk {
            let taken = self.take_body(bytes, left);
            let left = left - taken;
            self.part = Part::Chunk(if left == 0 { Chunk::After } else { Chunk::Data(left) });
            return Ok(false);
        }
        let Some((&byte, rest)) = bytes.split_first() else { return Ok(false) };
        *bytes = rest;
        let ends = byte == b'\n';
        let next = match chunk {
            Chunk::Size(size) => match char::from(byte).to_digit(16) {
                Some(digit) if size < 1 << 56 => Chunk::Size(size << 4 | u64::from(digit)),
                None if matches!(byte, b'\r' | b';') => Chunk::Line(size),
                _ => return Err(Malformed),
            },
            Chunk::Line(0) if ends => Chunk::Trailer(0),
            Chunk::Line(size) if ends => Chunk::Data(size),
            Chunk::Line(size) => Chunk::Line(size),
            Chunk::After if ends => Chunk::Size(0),
            Chunk::After => Chunk::After,
            Chunk::Trailer(0) if ends => return Ok(true),
            Chunk::Trailer(_) if ends => Chunk::Trailer(0),
            Chunk::Trailer(length) => Chunk::Trailer(length + u64::from(byte != b'\r')),
            Chunk::Data(_) => return Err(Malformed),
        };
        self.part = Part::Chunk(next);
        Ok(false)
    }
}

impl Message {
    fn nothing() -> Self {
        Self { status: 0, path: String::new(), length: 0, goes_on: true, stamp: 0, digest: NOTHING }
    }
}

/// The digest of no bytes.
pub(crate) const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// The digest of what `before` is the digest of, and `bytes` behind it: FNV-1a, 64 bits.
pub(crate) fn digest(before: u64, bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(before, step)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `reader` finds in `text`, given `step` bytes at a time.
    fn found(side: Side, text: &str, step: usize) -> Vec<(Message, String)> {
        let mut reader = Reader::new(side, Body::Keep(Vec::new()));
        let mut all = Vec::new();
        for mut bytes in text.as_bytes().chunks(step) {
            while !bytes.is_empty() {
                if let Some(message) = reader.read(&mut bytes).unwrap() {
                    all.push((message, String::from_utf8_lossy(reader.body()).into_owned()));
                }
            }
        }
        if let Some(message) = reader.end() {
            all.push((message, String::from_utf8_lossy(reader.body()).into_owned()));
        }
        all
    }

    #[test]
    fn messages_are_the_same_however_they_are_cut() {
        let answers = "HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
            HTTP/1.1 204 No Content\r\nX-Sent: 17\r\n\r\n\
            HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n1;x=y\r\n.\r\n\
            0\r\nTrailer: z\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nrest";
        let whole = found(Side::Answers, answers, answers.len());
        let seen: Vec<_> = whole
            .iter()
            .map(|(message, body)| (message.status, body.as_str(), message.goes_on, message.stamp))
            .collect();
        let expected = [
            (200, "hello", true, 0),
            (204, "", true, 17),
            (503, "busy.", true, 0),
            (200, "rest", false, 0),
        ];
        assert_eq!(seen, expected);
        for step in 1..30 {
            assert_eq!(found(Side::Answers, answers, step), whole, "{step} at a time");
        }
    }

    #[test]
    fn requests_tell_their_path_and_skip_their_body() {
        let requests = "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\
                        Connection: close\r\nx-sent: 12\r\n\r\n";
        for step in 1..40 {
            let seen: Vec<_> = found(Side::Requests, requests, step)
                .into_iter()
                .map(|(message, _)| (message.path, message.length, message.goes_on, message.stamp))
                .collect();
            assert_eq!(seen, [("/a".into(), 3, true, 0), ("/b".into(), 0, false, 12)]);
        }
    }

    #[test]
    fn a_body_has_one_digest_however_it_is_cut_and_another_where_a_byte_differs() {
        let of = |body: &str, step: usize| {
            let text = format!("POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n{body}");
            let mut reader = Reader::new(Side::Requests, Body::Digest);
            let mut found = None;
            for mut bytes in text.as_bytes().chunks(step) {
                found = reader.read(&mut bytes).unwrap().or(found);
            }
            found.unwrap().digest
        };
        // From the draft that defines it.
        assert_eq!(of("foobar", 1000), 0x8594_4171_f739_67e8);
        for step in 1..20 {
            assert_eq!(of("foobar", step), of("foobar", 1000));
        }
        assert_ne!(of("foobas", 1000), of("foobar", 1000));
    }

    #[test]
    fn what_is_no_http_is_malformed() {
        for text in ["HTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            let mut reader = Reader::new(Side::Answers, Body::Count);
            assert_eq!(reader.read(&mut text.as_bytes()), Err(Malformed), "{text}");
        }
    }
}
