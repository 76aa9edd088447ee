//! Where in a Redis Cluster a key is.
//!
//! Enters: keys, and what a node answers to `CLUSTER SLOTS`. Leaves: the node that holds each slot.
//! A slot is the CRC-16 of a key's hash tag modulo 16384, by the Redis Cluster specification.

use redis::Value;

use super::dial::node_of;
use crate::config::Node;

/// Slots of a Cluster.
pub(super) const SLOTS: usize = 16_384;

/// Ranges of slots that are looked at: every slot may be a range of its own.
const RANGES_MAX: usize = SLOTS;

/// Some slots, and who holds them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) node: Node,
}

/// The slot of `key`.
pub(super) fn slot(key: &[u8]) -> usize {
    usize::from(crc16(tag(key))) % SLOTS
}

/// The bytes of a key that its slot is made of: those between the first `{` and the next `}`, or
/// all of them.
pub(super) fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let behind = key.get(open + 1..).unwrap_or_default();
    match behind.iter().position(|byte| *byte == b'}') {
        Some(len) if len > 0 => behind.get(..len).unwrap_or(key),
        _ => key,
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc: u16, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

/// The masters that `teller` names; `None` where that is no answer.
pub(super) fn ranges(answer: &Value, teller: &Node) -> Option<Vec<Range>> {
    let Value::Array(rows) = answer else { return None };
    rows.iter().take(RANGES_MAX).map(|row| range(row, teller)).collect()
}

fn range(row: &Value, teller: &Node) -> Option<Range> {
    let Value::Array(parts) = row else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &**parts else {
        return None;
    };
    let slot = |number: i64| usize::try_from(number).ok().filter(|slot| *slot < SLOTS);
    let node = node_of(master.first(), master.get(1), teller)?;
    Some(Range { first: slot(*first)?, last: slot(*last)?, node })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Wire;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_eq!(slot(b"foo{bar"), usize::from(crc16(b"foo{bar")) % SLOTS);
    }

    #[test]
    fn only_what_is_a_map_is_taken_for_one() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let teller = Node::Tcp { host: "a".to_owned(), port: 1, wire: Wire::Plain };
        let master = || Value::Array(vec![text("10.0.0.1"), Value::Int(7000), text("id")]);
        let row = |first, last| {
            Value::Array(vec![Value::Array(vec![
                Value::Int(first),
                Value::Int(last),
                master(),
                master(),
            ])])
        };
        let node = Node::Tcp { host: "10.0.0.1".to_owned(), port: 7000, wire: Wire::Plain };
        let expected = Range { first: 0, last: 5460, node };
        assert_eq!(ranges(&row(0, 5460), &teller), Some(vec![expected]));
        for odd in [row(0, 16_384), row(-1, 5), Value::Nil, Value::Array(vec![Value::Int(1)])] {
            assert_eq!(ranges(&odd, &teller), None, "{odd:?}");
        }
    }
}
