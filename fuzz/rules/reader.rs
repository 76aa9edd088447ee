//! A second reading of HTTP/1.1, slow and plain: lines first, then their parts.
//!
//! Enters: bytes. Leaves: heads and bodies that RFC 9112 allows without any leniency, or nothing.
//! It exists to disagree with the real reader.

/// A head.
pub struct Head<'a> {
    /// The request or status line.
    pub line: &'a [u8],
    /// Names and values, without white space around the values.
    pub fields: Vec<(&'a [u8], &'a [u8])>,
    /// Bytes up to and with the blank line.
    pub len: usize,
}

impl<'a> Head<'a> {
    /// The values of the fields called `name`, in lower case.
    pub fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = |field: &&(&[u8], &[u8])| field.0.eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().filter(named).map(|(_, value)| *value).collect()
    }

    /// The words of `Connection`.
    pub fn connection(&self) -> Vec<Vec<u8>> {
        let values = self.values("connection");
        let words = values.iter().flat_map(|value| value.split(|byte| *byte == b','));
        words.map(|word| word.trim_ascii().to_ascii_lowercase()).filter(|w| !w.is_empty()).collect()
    }
}

/// Reads the head at the front of `bytes`; `None` where it is not whole, or not plain.
pub fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut lines = lines(bytes.get(..end)?).into_iter();
    let line = lines.next()?;
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if line.is_empty() || !line.iter().all(plain) {
        return None;
    }
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
        if name.is_empty() || !name.iter().copied().all(is_token) || !value.iter().all(plain) {
            return None;
        }
        fields.push((name, trimmed(value)));
    }
    Some(Head { line, fields, len: end + 4 })
}

/// The lines of `bytes`, parted by CR LF and by nothing else.
pub fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

/// `value` without blanks and tabs around it.
pub fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    &value[start..end]
}

/// RFC 9110 §5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A chunked body: its payload, and where it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunked {
    /// What was sent.
    pub payload: Vec<u8>,
    /// Bytes of the body, its last line end included.
    pub len: usize,
    /// Bytes of chunk extensions.
    pub extensions: usize,
    /// The names of its trailers, in lower case.
    pub trailers: Vec<Vec<u8>>,
}

/// Reads a chunked body that is whole.
pub fn chunked(bytes: &[u8]) -> Option<Chunked> {
    let (mut payload, mut at, mut extensions) = (Vec::new(), 0, 0);
    loop {
        let line = line(bytes, &mut at)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let extension = &line[digits..];
        if !(1..=15).contains(&digits) || !is_extension(extension) {
            return None;
        }
        extensions += extension.len(); // the `;` stands for the line's CR
        if extensions > 4096 {
            return None;
        }
        let size = std::str::from_utf8(&line[..digits]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        payload.extend_from_slice(bytes.get(at..)?.get(..size)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    let (start, mut trailers) = (at, Vec::new());
    loop {
        let line = line(bytes, &mut at)?;
        // The blank line's CR is counted, its LF too.
        if at - start > 4096 || trailers.len() > 32 {
            return None;
        }
        if line.is_empty() {
            return Some(Chunked { payload, len: at, extensions, trailers });
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let named = colon > 0 && line[..colon].iter().copied().all(is_token);
        if !named || !line[colon + 1..].iter().all(plain) {
            return None;
        }
        trailers.push(line[..colon].to_ascii_lowercase());
    }
}

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}

/// RFC 9112 §7.1.1, without the white space that nobody should send: `;name`, `;name=token`,
/// `;name="text"`.
fn is_extension(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix(b";") {
        let name = after.iter().take_while(|byte| is_token(**byte)).count();
        rest = &after[name..];
        if name == 0 {
            return false;
        }
        let Some(value) = rest.strip_prefix(b"=") else { continue };
        let len = if value.first() == Some(&b'"') {
            match quoted(value) {
                Some(len) => len,
                None => return false,
            }
        } else {
            value.iter().take_while(|byte| is_token(**byte)).count()
        };
        if len == 0 {
            return false;
        }
        rest = &value[len..];
    }
    rest.is_empty() && text.len() <= 256
}

/// The length of the quoted string that `text` begins with.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => {
                if !matches!(text.get(at + 1)?, b'\t' | b' '..=b'~') {
                    return None;
                }
                at += 2;
            }
            b'\t' | b' '..=b'~' => at += 1,
            _ => return None,
        }
    }
}
