//! What a seed decides: the dice, and how bad the network is.
//!
//! Enters: a seed. Leaves: numbers, and bytes that were garbled. Owns nothing else.

/// Dice with a seed.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::super::member::hash(self.0.to_le_bytes().into_iter()) % sides.max(1)
    }

    pub(super) fn chance(&mut self, of_thousand: u64) -> bool {
        self.roll(1000) < of_thousand
    }
}

/// What happens to calls, in parts of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Net {
    /// Lost on the way there, or on the way back.
    pub(super) lost: u64,
    /// Carried out a second time, later.
    pub(super) twice: u64,
    /// Late by up to 300 ms, far beyond patience.
    pub(super) late: u64,
    /// Answered with other bytes than the script's.
    pub(super) garbled: u64,
}

/// Other bytes than `bytes`, of the kind that come closest to being understood.
pub(super) fn garble(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    const LARGE: &[u8] = b"18446744073709551615";
    for _ in 0..=dice.roll(4) {
        let at = usize::try_from(dice.roll(bytes.len() as u64)).unwrap();
        match dice.roll(6) {
            0 => bytes.truncate(at),
            1 => bytes.splice(at..at, LARGE.iter().copied()).for_each(drop),
            2 => bytes.splice(at..at, *b"-").for_each(drop),
            3 => drop(bytes.get(at).copied().map(|byte| bytes.push(byte))),
            _ => {
                let digit = b'0' + u8::try_from(dice.roll(10)).unwrap();
                bytes.get_mut(at).into_iter().for_each(|byte| *byte = digit);
            }
        }
    }
    bytes
}
