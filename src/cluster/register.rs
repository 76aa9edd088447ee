//! What a call of the script says, and what it answers.
//!
//! Enters: registers to put; bytes. Leaves: the arguments of a call; an [`Answer`], or a complaint.
//! The answer is one text: a head line `1 now living before version more`, then a line for each
//! register, `field rank at value`. Owns nothing.

use super::{Call, Malformed};

/// Registers that one call puts at most: breakers of a shard beyond that wait for the next.
pub(super) const PUTS_MAX: usize = 256;

/// Registers that one call answers at most; the rest is answered by the next.
pub(super) const ANSWERS_MAX: usize = 256;

/// An answer longer than this is nobody's: registers are short, and there are few.
const BYTES_MAX: usize = 4 << 20;

/// A register to put: the higher rank stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Put {
    pub(super) field: String,
    pub(super) rank: u64,
    /// How long it lives (ms) if nobody puts it again.
    pub(super) ttl: u64,
    /// Whether others are to be told at once.
    pub(super) loud: bool,
    pub(super) value: String,
}

/// What is said with every call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'s> {
    pub(super) prefix: &'s str,
    pub(super) shard: u8,
    pub(super) instance: u64,
    /// How long the instance counts as alive (ms); zero: it leaves.
    pub(super) alive: u64,
    /// The version up to which everything is known.
    pub(super) seen: u64,
    /// Where hints are published; empty: nowhere.
    pub(super) channel: &'s str,
}

/// What the store answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The store's clock (ms).
    pub(super) now: u64,
    /// Instances alive.
    pub(super) living: u32,
    /// Until when (ms) this instance counted as alive before this call; zero: it did not.
    pub(super) before: u64,
    /// The version up to which everything is known now.
    pub(super) version: u64,
    /// Whether there is more to know.
    pub(super) more: bool,
    pub(super) entries: Vec<Entry>,
}

/// A register as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) field: String,
    pub(super) rank: u64,
    /// When it was put, by the store's clock (ms).
    pub(super) at: u64,
    pub(super) value: String,
}

pub(super) fn call(head: Head<'_>, puts: &[Put]) -> Call {
    let Head { prefix, shard, instance, alive, seen, channel } = head;
    let key = |part| format!("{{{prefix}:{shard:02}}}:{part}").into_bytes();
    let number = |number: u64| number.to_string().into_bytes();
    let mut args = vec![
        format!("{instance:016x}").into_bytes(),
        number(alive),
        number(seen),
        number(ANSWERS_MAX as u64),
        channel.as_bytes().to_vec(),
    ];
    for put in puts {
        args.push(put.field.clone().into_bytes());
        args.push(number(put.rank));
        args.push(number(put.ttl));
        args.push(number(u64::from(put.loud)));
        args.push(put.value.clone().into_bytes());
    }
    Call { keys: ["data", "versions", "ends", "living"].map(key).into(), args }
}

/// Reads an answer.
pub(super) fn answer(bytes: &[u8]) -> Result<Answer, Malformed> {
    let malformed = |what: &str| Malformed(what.to_owned());
    if bytes.len() > BYTES_MAX {
        return Err(malformed("it is too long"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
    let mut lines = text.split('\n');
    let head = lines.next().unwrap_or_default();
    let mut words = head.split(' ');
    if words.next() != Some("1") {
        return Err(malformed("it is of another version"));
    }
    let mut number = || -> Result<u64, Malformed> {
        let word = words.next().ok_or_else(|| malformed("its first line is short"))?;
        word.parse().map_err(|_| malformed("its first line holds no numbers"))
    };
    let mut answer = Answer {
        now: number()?,
        living: u32::try_from(number()?).unwrap_or(u32::MAX),
        before: number()?,
        version: number()?,
        more: number()? != 0,
        entries: Vec::new(),
    };
    for line in lines.take(ANSWERS_MAX) {
        let mut words = line.splitn(4, ' ');
        let (field, rank, at) = (words.next(), words.next(), words.next());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        let (Some(field), Some(rank), Some(at)) = (field, number(rank), number(at)) else {
            return Err(malformed("a register of it cannot be read"));
        };
        let value = words.next().unwrap_or_default().to_owned();
        answer.entries.push(Entry { field: field.to_owned(), rank, at, value });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_anything_else_is_named() {
        let read = answer(b"1 1700000000123 3 1700000000000 42 1\nr:1 7 1699 a b c\nc:2 1 5 ");
        let entry = |field: &str, rank, at, value: &str| Entry {
            field: field.to_owned(),
            rank,
            at,
            value: value.to_owned(),
        };
        let expected = Answer {
            now: 1_700_000_000_123,
            living: 3,
            before: 1_700_000_000_000,
            version: 42,
            more: true,
            entries: vec![entry("r:1", 7, 1699, "a b c"), entry("c:2", 1, 5, "")],
        };
        assert_eq!(read, Ok(expected));
        for bad in ["", "OK", "2 1 1 1 1 0", "1 1 1", "1 1 1 1 x 0", "1 1 1 1 1 0\nr:1 x", "\u{7f}"]
        {
            assert!(answer(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(answer(&[0xff]).is_err());
    }

    #[test]
    fn the_keys_of_a_call_share_a_hash_tag() {
        let head =
            Head { prefix: "fuse", shard: 3, instance: 0xab, alive: 1, seen: 2, channel: "" };
        let put = Put { field: "f".into(), rank: 1, ttl: 2, loud: true, value: "v w".into() };
        let Call { keys, args } = call(head, &[put]);
        assert!(keys.iter().all(|key| key.starts_with(b"{fuse:03}:")));
        let args: Vec<_> = args.iter().map(|it| std::str::from_utf8(it).unwrap()).collect();
        assert_eq!(args, ["00000000000000ab", "1", "2", "256", "", "f", "1", "2", "1", "v w"]);
    }
}
