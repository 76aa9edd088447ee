//! A head from each side, read and written anew as they are on their way through the proxy.
//!
//! Enters: room for what is written. Leaves: nothing; what it takes is counted or timed outside.

use std::hint::black_box;

use fusebox::http1::field::Fields;
use fusebox::http1::forwarding::{Address, Emit, Origin, Telling, Word};
use fusebox::http1::head::{self, Asked, Bounds};
use fusebox::http1::rewrite::{self, BodyForm, Changes, Passage, Say, Writer};

/// What a browser sends.
const REQUEST: &[u8] = b"GET /users/12345/orders?page=2&size=50 HTTP/1.1\r\n\
    Host: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Connection: keep-alive\r\n\
    Referer: https://shop.example.com/users/12345\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Cache-Control: max-age=0\r\n\r\n";

/// What a server behind a proxy answers.
pub(crate) const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx/1.26.2\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 1024\r\n\
    Connection: keep-alive\r\n\r\n";

const BOUNDS: Bounds = Bounds { bytes: 16 * 1024, fields: 100, target: 8 * 1024 };

/// What a core keeps for its heads.
pub(crate) struct Heads {
    fields: Fields,
    place: [u8; 4096],
    telling: Telling,
    silent: Telling,
    address: Address,
}

impl Heads {
    pub(crate) fn new() -> Self {
        Self {
            fields: Fields::new(),
            place: [0; 4096],
            telling: Telling::new(&[Emit::XForwarded], b"fusebox"),
            silent: Telling::new(&[], b"fusebox"),
            address: Address::new([203, 0, 113, 7].into()),
        }
    }

    /// Reads a request's head, and writes it for the upstream.
    pub(crate) fn request(&mut self) -> Result<(), String> {
        let Self { fields, place, telling, address, .. } = self;
        let bytes = black_box(REQUEST);
        let head = head::request(bytes, &BOUNDS, fields);
        let head = head.ok().flatten().ok_or("no request")?;
        let host = head.host.of_bytes(bytes);
        let origin = Origin { address, host, word: Word::Replaced, telling };
        let mut writer = Writer::new(place);
        rewrite::request_fields(&mut writer, &head, fields, bytes, &origin, Passage::Relayed);
        black_box(writer.finish()).ok_or("no room")?;
        Ok(())
    }

    /// Reads a response's head, and writes it for the client.
    pub(crate) fn response(&mut self) -> Result<(), String> {
        let Self { fields, place, silent, .. } = self;
        let bytes = black_box(RESPONSE);
        let head = head::response(bytes, &BOUNDS, Asked::Body, fields);
        let head = head.ok().flatten().ok_or("no response")?;
        let (say, body) = (Say::Nothing, BodyForm::AsSent);
        let changes = Changes { say, body, date: b"", telling: silent };
        let mut writer = Writer::new(place);
        rewrite::response_head(&mut writer, &head, fields, bytes, &changes);
        black_box(writer.finish()).ok_or("no room")?;
        Ok(())
    }
}
