//! Classes of bytes, and how far one reaches.

#![cfg_attr(not(test), deny(clippy::disallowed_types, clippy::disallowed_macros))]

/// Whether a byte is one of them, by byte.
pub(super) type Class = [bool; 256];

/// How many bytes at the front are of `class`.
#[inline]
pub(super) fn leading(bytes: &[u8], class: &Class) -> usize {
    let is_other = |byte: &u8| !class[usize::from(*byte)];
    let (mut len, mut rest) = (0, bytes);
    // A known number of bytes at a time is a loop without bounds, which is half the work.
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        if let Some(within) = eight.iter().position(is_other) {
            return len + within;
        }
        (len, rest) = (len + 8, more);
    }
    len + rest.iter().position(is_other).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_reaches_to_the_first_byte_of_another() {
        let mut class = [false; 256];
        class[usize::from(b'a')] = true;
        for len in 0..20 {
            let run = b"a".repeat(len);
            assert_eq!(leading(&run, &class), len);
            assert_eq!(leading(&[&run[..], b"-aaaaaaaaaaa"].concat(), &class), len);
        }
    }
}
