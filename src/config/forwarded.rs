//! Whose word on a client is believed, and what upstreams are told of one.
//!
//! Enters: `forwarded` as written, with CIDRs (RFC 4632, RFC 4291 §2.3). Leaves: the networks, each
//! in one spelling, and the fields to send; later, whether an address lies in a network.

use std::net::{IpAddr, Ipv6Addr};

use super::complaint::{Code, quoted};
use super::document;
use super::place::At;
use super::report::Report;
pub use crate::http1::forwarding::Emit;

/// Whose word on a client is believed, and what upstreams are told of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Peers whose forwarding fields are kept and appended to; those of anyone else are replaced.
    pub trust: Vec<Network>,
    /// What is sent; each at most once.
    pub emit: Vec<Emit>,
}

/// More networks than this are refused: they are looked through one by one.
const NETWORKS_MAX: usize = 1024;

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address; an IPv4 one as IPv4.
    address: IpAddr,
    /// How many bits are the same.
    bits: u32,
}

impl Network {
    /// Whether `ip` lies in it. An IPv4 address is one however a socket spells it.
    #[must_use]
    pub fn holds(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                self.bits == 0 || (own.to_bits() ^ ip.to_bits()) >> (32 - self.bits) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                self.bits == 0 || (own.to_bits() ^ ip.to_bits()) >> (128 - self.bits) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address alone. The error is what is wrong and
    /// the remedy.
    fn read(text: &str) -> Result<Self, (String, String)> {
        let none = || {
            let remedy = "write one as in `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.1`";
            (format!("{} is not a network", quoted(text)), remedy.to_owned())
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| none())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            // No sign, no leading zero, as the address has none.
            Some("0") => 0,
            Some(bits) if bits.starts_with(|first: char| matches!(first, '1'..='9')) => {
                bits.parse().map_err(|_| none())?
            }
            Some(_) => return Err(none()),
        };
        if bits > width {
            let message = format!("{} has more than {width} bits", quoted(text));
            return Err((message, format!("write `{address}/{width}` or less")));
        }
        let first = match address {
            IpAddr::V4(ip) => {
                let first = prefix(u128::from(ip.to_bits()), bits + 96);
                IpAddr::V4(u32::try_from(first).unwrap_or(0).into())
            }
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(prefix(ip.to_bits(), bits))),
        };
        if let (IpAddr::V6(ip), true) = (first, bits >= 96)
            && let Some(v4) = ip.to_ipv4_mapped()
        {
            let message = format!("{} is an IPv4 network in other words", quoted(text));
            return Err((message, format!("write `{v4}/{}`", bits - 96)));
        }
        if first != address {
            let message = format!("{} does not begin where its network does", quoted(text));
            return Err((message, format!("write `{first}/{bits}`, or `{address}` alone")));
        }
        Ok(Self { address, bits })
    }
}

/// The first `bits` bits of `address`, the others zero.
const fn prefix(address: u128, bits: u32) -> u128 {
    match u128::MAX.checked_shl(128 - bits) {
        Some(mask) => address & mask,
        None => 0,
    }
}

/// Makes the rules of forwarding; `at` is where they stand.
pub(super) fn read(
    document: Option<&document::Forwarded>,
    at: &At<'_>,
    report: &mut Report,
) -> Forwarded {
    let trust = document.and_then(|own| own.trust.as_deref()).unwrap_or_default();
    let emit = document.and_then(|own| own.emit.as_deref());
    let root = at.key("trust");
    if trust.len() > NETWORKS_MAX {
        let message = format!("there are {} networks", trust.len());
        let remedy = format!("use at most {NETWORKS_MAX}: one network may hold many");
        report.key(Code::TooMany, &root, message, &remedy);
    }
    let mut networks = Vec::new();
    for (nth, text) in trust.iter().enumerate() {
        match Network::read(text) {
            Ok(network) => networks.push(network),
            Err((message, remedy)) => {
                report.value(Code::BadAddress, &root.nth(nth), message, &remedy);
            }
        }
    }
    let has = |wanted: fn(&document::Emit) -> bool| match emit {
        Some(written) => written.iter().any(wanted),
        None => wanted(&document::Emit::XForwarded),
    };
    let all = [
        (Emit::XForwarded, has(|emit| matches!(emit, document::Emit::XForwarded))),
        (Emit::Forwarded, has(|emit| matches!(emit, document::Emit::Forwarded))),
        (Emit::Via, has(|emit| matches!(emit, document::Emit::Via))),
    ];
    let emit = all.into_iter().filter(|(_, has)| *has).map(|(emit, _)| emit).collect();
    Forwarded { trust: networks, emit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_in_the_networks_whose_bits_it_has() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
            ("::/0", "ff::1", "127.0.0.1"),
        ] {
            let network = Network::read(network).unwrap();
            assert!(network.holds(inside.parse().unwrap()), "{network:?} {inside}");
            assert!(!network.holds(outside.parse().unwrap()), "{network:?} {outside}");
        }
    }

    #[test]
    fn a_network_has_one_spelling() {
        for (text, remedy) in [
            ("10.0.0.1/8", "write `10.0.0.0/8`, or `10.0.0.1` alone"),
            ("10.0.0.0/33", "write `10.0.0.0/32` or less"),
            ("::ffff:10.0.0.0/104", "write `10.0.0.0/8`"),
            ("2001:db8::1/32", "write `2001:db8::/32`, or `2001:db8::1` alone"),
        ] {
            assert_eq!(Network::read(text).unwrap_err().1, remedy, "{text}");
        }
        for bad in ["", "/8", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08", "lan", "*"] {
            assert!(Network::read(bad).unwrap_err().0.ends_with("is not a network"), "{bad}");
        }
    }
}
