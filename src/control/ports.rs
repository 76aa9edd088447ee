//! The ports that the system picked where a configuration asked for any.
//!
//! Enters: addresses as they are wanted, and as the workers bound them. Leaves: addresses to listen
//! on, in which a port 0 that was given a port once stands for that port: a reload that adds an
//! address takes none away. Owns the pairs of the served configuration.

use std::net::SocketAddr;

/// What each wanted address was bound to.
#[derive(Debug)]
pub(super) struct Ports(Vec<Pair>);

#[derive(Clone, Copy, Debug)]
struct Pair {
    wanted: SocketAddr,
    bound: SocketAddr,
}

impl Ports {
    /// Those of a start, which binds every address in its order.
    pub(super) fn new(wanted: &[SocketAddr], bound: &[SocketAddr]) -> Self {
        let pairs = wanted.iter().zip(bound);
        Self(pairs.map(|(&wanted, &bound)| Pair { wanted, bound }).collect())
    }

    /// `wanted`, each port 0 replaced by the one it has got already.
    pub(super) fn known(&self, wanted: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut free = self.0.clone();
        let known =
            wanted.iter().map(|&wanted| match free.iter().position(|pair| pair.wanted == wanted) {
                Some(at) => free.swap_remove(at).bound,
                None => wanted,
            });
        known.collect()
    }

    /// Notes what became of [`Ports::known`]: `before` and `after` are the addresses served, new
    /// ones last and in the order of `known`.
    pub(super) fn note(
        &mut self,
        wanted: &[SocketAddr],
        known: &[SocketAddr],
        (before, after): (&[SocketAddr], &[SocketAddr]),
    ) {
        let is_new = |address: &&SocketAddr| !before.contains(address);
        let first = after.len().saturating_sub(known.iter().filter(is_new).count());
        let mut picked = after.iter().skip(first);
        let pairs = wanted.iter().zip(known).map(|(&wanted, known)| {
            let picked = if is_new(&known) { picked.next() } else { None };
            Pair { wanted, bound: *picked.unwrap_or(known) }
        });
        self.0 = pairs.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    #[test]
    fn a_port_that_was_picked_stays_while_any_port_is_wanted() {
        let mut ports = Ports::new(&addresses(&[0]), &addresses(&[4001]));
        let wanted = addresses(&[8080, 0, 0]);
        let known = ports.known(&wanted);
        assert_eq!(known, addresses(&[8080, 4001, 0]));
        let (before, after) = (addresses(&[4001]), addresses(&[4001, 8080, 4002]));
        ports.note(&wanted, &known, (&before, &after));
        assert_eq!(ports.known(&addresses(&[0, 0, 0])), addresses(&[4001, 4002, 0]));
        assert_eq!(ports.known(&addresses(&[8080])), addresses(&[8080]));
    }

    #[test]
    fn a_port_that_is_no_longer_wanted_is_forgotten() {
        let mut ports = Ports::new(&addresses(&[0]), &addresses(&[4001]));
        let wanted = addresses(&[8080]);
        ports.note(&wanted, &wanted, (&addresses(&[4001]), &wanted));
        assert_eq!(ports.known(&addresses(&[0])), addresses(&[0]));
    }
}
