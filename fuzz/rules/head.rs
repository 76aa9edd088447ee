//! Heads: what is accepted is plain HTTP/1.1, and how it arrived does not matter.

use fusebox::http1::field::Fields;
use fusebox::http1::head::{self, Asked, Request, RequestFault, Response, ResponseFault};

use super::{BOUNDS, cuts, reader};

/// Reads `data` as a request, and as a response to a `HEAD` and to a `GET`.
pub fn check(data: &[u8]) {
    check_request(data);
    for asked in [Asked::Head, Asked::Body] {
        check_response(data, asked);
    }
}

/// What a request's head is taken for.
type Outcome = Result<Option<Request>, RequestFault>;

fn request(bytes: &[u8]) -> Outcome {
    head::request(bytes, &BOUNDS, &mut Fields::new())
}

fn check_request(bytes: &[u8]) {
    let whole = request(bytes);
    let grown = cuts(bytes).map(|end| request(&bytes[..end])).find(|read| *read_on(read) != Ok(()));
    assert!(same(&grown.unwrap_or(Ok(None)), &whole), "whole {whole:?}, in parts {grown:?}");
    line_before(bytes, &whole);
    let Ok(Some(head)) = whole else { return };
    let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let read = reader::head(&bytes[skipped..]).expect("what is accepted is plain");
    assert_eq!(skipped + read.len, head.len);
    let [method, path, query, host] =
        [head.method, head.path, head.query, head.host].map(|span| span.of_bytes(bytes));
    let mut words = read.line.split(|byte| *byte == b' ');
    assert_eq!(words.next(), Some(method));
    let target = words.next().unwrap();
    // An absolute target without a path is for the root: any slash of it will do.
    let no_path = path == b"/" && target.ends_with(query);
    assert!(target.ends_with(&[path, query].concat()) || no_path, "the target's end");
    assert!(
        words.next().is_some_and(|word| word.starts_with(b"HTTP/1.")) && words.next().is_none()
    );
    assert!(method.iter().copied().all(reader::is_token) && !method.is_empty());
    assert!(path.starts_with(b"/") || path == b"*");
    assert!(query.is_empty() || query.starts_with(b"?"));
    assert!(host.iter().all(|byte| byte.is_ascii_graphic() && !b"/@,?#\\".contains(byte)));
    assert!(read.values("host").len() <= 1 && read.values("content-length").len() <= 1);
    let fields = {
        let mut fields = Fields::new();
        head::request(bytes, &BOUNDS, &mut fields).unwrap();
        fields
    };
    same_fields(&fields, &read, bytes);
}

/// An empty line before a request changes nothing: with one, another reader looks at it.
fn line_before(bytes: &[u8], whole: &Outcome) {
    if bytes.len() + 2 >= BOUNDS.bytes || matches!(bytes, [b'\r' | b'\n', ..]) {
        return;
    }
    let later = [b"\r\n", bytes].concat();
    let told = |bytes: &[u8], read: &Outcome, skipped: usize| match read {
        Ok(Some(head)) => {
            let Request { len, method, path, query, host, .. } = *head;
            let parts = [method, path, query, host].map(|span| span.of_bytes(bytes).to_vec());
            let flags = (head.version, head.framing, head.persist, head.expect, head.prefer);
            format!("{:?} {parts:?} {flags:?} {:?}", len - skipped, head.upgrade)
        }
        other => format!("{other:?}"),
    };
    assert_eq!(told(bytes, whole, 0), told(&later, &request(&later), 2), "behind an empty line");
}

fn check_response(bytes: &[u8], asked: Asked) {
    let read = |bytes: &[u8]| head::response(bytes, &BOUNDS, asked, &mut Fields::new());
    let whole = read(bytes);
    let grown = cuts(bytes).map(|end| read(&bytes[..end])).find(|read| !matches!(read, Ok(None)));
    let told = |read: Result<Option<Response>, ResponseFault>| format!("{read:?}");
    assert_eq!(told(grown.unwrap_or(Ok(None))), told(whole), "whole or in parts");
    let Ok(Some(head)) = whole else { return };
    tab_in_the_reason(bytes, asked, &head);
    let second = reader::head(bytes).expect("what is accepted is plain");
    assert_eq!(second.len, head.len);
    assert!((100..600).contains(&head.status));
    let status = second.line.split(|byte| *byte == b' ').nth(1).unwrap();
    assert_eq!(status, head.status.to_string().as_bytes());
    let mut fields = Fields::new();
    head::response(bytes, &BOUNDS, asked, &mut fields).unwrap();
    same_fields(&fields, &second, bytes);
}

/// A tab at the end of the reason changes nothing: with one, another reader looks at the head.
fn tab_in_the_reason(bytes: &[u8], asked: Asked, head: &Response) {
    let line = bytes.windows(2).position(|two| two == b"\r\n").expect("a line");
    // What comes behind the status begins with a blank.
    let tab: &[u8] = if bytes[..line].len() > b"HTTP/1.1 200".len() { b"\t" } else { b" \t" };
    let odd = [&bytes[..line], tab, &bytes[line..]].concat();
    if odd.len() > BOUNDS.bytes {
        return;
    }
    let (mut fields, mut others) = (Fields::new(), Fields::new());
    head::response(bytes, &BOUNDS, asked, &mut fields).unwrap();
    let other = head::response(&odd, &BOUNDS, asked, &mut others).unwrap().expect("whole as well");
    assert_eq!(other.len, head.len + tab.len());
    let told = |head: &Response| {
        format!("{} {:?} {:?} {:?}", head.status, head.version, head.framing, head.persist)
    };
    assert_eq!(told(&other), told(head), "with a tab in the reason");
    let listed = |fields: &Fields, bytes: &[u8]| -> Vec<[Vec<u8>; 2]> {
        let parts = fields.list().iter().map(|field| [field.name, field.value]);
        parts.map(|parts| parts.map(|part| part.of_bytes(bytes).to_vec())).collect()
    };
    assert_eq!(listed(&others, &odd), listed(&fields, bytes), "with a tab in the reason");
}

fn same_fields(fields: &Fields, read: &reader::Head<'_>, bytes: &[u8]) {
    let list: Vec<_> = fields
        .list()
        .iter()
        .map(|field| (field.name.of_bytes(bytes), field.value.of_bytes(bytes)))
        .collect();
    assert_eq!(list, read.fields);
}

/// Whether more has to be received.
fn read_on(read: &Outcome) -> &'static Result<(), ()> {
    if matches!(read, Ok(None)) { &Ok(()) } else { &Err(()) }
}

/// Whether two outcomes are one. Where a limit is passed, what is told first may depend on how much
/// had arrived: all that must not is that it is refused.
fn same(a: &Outcome, b: &Outcome) -> bool {
    let is_limit = |outcome: &Outcome| {
        use RequestFault::{HeadTooLarge, TooManyFields, UriTooLong};
        matches!(outcome, Err(HeadTooLarge | TooManyFields | UriTooLong))
    };
    let both_refuse = a.is_err() && b.is_err();
    both_refuse && (is_limit(a) || is_limit(b)) || format!("{a:?}") == format!("{b:?}")
}
