//! The script once more, in Rust, over a store that can be stopped, flushed and set back.
//!
//! Enters: a call and the store's time. Leaves: the very bytes that the script would answer (a test
//! plays random calls on both), and what it would publish. Owns the keys of all shards.

use std::collections::BTreeMap;

use crate::cluster::Call;

#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    shards: BTreeMap<Vec<u8>, Shard>,
}

/// The keys of a shard. Three of them hold the same fields and expire together.
#[derive(Clone, Debug, Default)]
struct Shard {
    held: Expiring<Held>,
    living: Expiring<BTreeMap<String, u64>>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    data: BTreeMap<String, (f64, String)>,
    version: Option<u64>,
    versions: BTreeMap<String, u64>,
    ends: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
struct Expiring<T> {
    value: T,
    at: u64,
}

impl<T: Default> Expiring<T> {
    fn expire(&mut self, now: u64) {
        if now >= self.at {
            self.value = T::default();
        }
    }

    fn keep(&mut self, now: u64, span: u64) {
        self.at = self.at.max(now + span);
    }
}

/// One of the keys of each shard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key {
    Data,
    Versions,
    Ends,
    Living,
}

impl Key {
    pub(super) const ALL: [Self; 4] = [Self::Data, Self::Versions, Self::Ends, Self::Living];
}

/// The answer, and what was published if anything was.
pub(super) type Answered = (Vec<u8>, Option<String>);

impl Fake {
    /// Whether any key is left at `now` (ms).
    pub(super) fn holds_anything(&self, now: u64) -> bool {
        self.shards.values().any(|shard| {
            let data = now < shard.held.at && shard.held.value.version.is_some();
            data || now < shard.living.at && !shard.living.value.is_empty()
        })
    }

    pub(super) fn flush(&mut self) {
        self.shards.clear();
    }

    /// The registers of one kind have come to their end.
    pub(super) fn end(&mut self, kind: &str) {
        for Shard { held: Expiring { value: held, .. }, .. } in self.shards.values_mut() {
            held.data.retain(|field, _| !field.starts_with(kind));
            held.versions.retain(|field, _| !field.starts_with(kind));
            held.ends.retain(|field, _| !field.starts_with(kind));
        }
    }

    /// The store is short of memory: `key` goes, of all shards.
    pub(super) fn evict(&mut self, key: Key) {
        for Shard { held: Expiring { value: held, .. }, living } in self.shards.values_mut() {
            match key {
                Key::Data => (held.version, held.data) = (None, BTreeMap::new()),
                Key::Versions => held.versions.clear(),
                Key::Ends => held.ends.clear(),
                Key::Living => living.value.clear(),
            }
        }
    }

    /// What the script does at `now` (ms).
    pub(super) fn call(&mut self, call: &Call, now: u64) -> Answered {
        let args: Vec<&str> =
            call.args.iter().map(|arg| std::str::from_utf8(arg).unwrap()).collect();
        let number = |nth: usize| args[nth].parse::<u64>().unwrap();
        let (instance, alive, seen, most) = (args[0], number(1), number(2), number(3));
        let shard = self.shards.entry(call.keys[0].clone()).or_default();
        shard.expire(now);
        let before = shard.live(instance, alive, now);
        let news = shard.put(&args[5..], alive, now);
        let held = &shard.held.value;
        let mut fresh: Vec<(u64, String)> =
            held.versions.iter().map(|(field, version)| (*version, field.clone())).collect();
        fresh.sort_unstable();
        fresh.retain(|(version, _)| *version > seen);
        fresh.truncate(usize::try_from(most).unwrap());
        let more = fresh.len() as u64 == most;
        let last =
            if more { fresh.last().map_or(0, |(it, _)| *it) } else { held.version.unwrap_or(0) };
        let mut lines = vec![format!(
            "1 {now} {} {before} {last} {}",
            shard.living.value.len(),
            u64::from(more)
        )];
        for (_, field) in &fresh {
            let held = held.data.get(field);
            lines.extend(held.map(|(_, held)| format!("{field} {held}")));
        }
        let tag = String::from_utf8_lossy(&call.keys[0]).into_owned();
        let number = tag.split_once('}').and_then(|(tag, _)| tag.rsplit_once(':')).unwrap().1;
        let published = (news && !args[4].is_empty()).then(|| format!("{number} {instance}"));
        (lines.join("\n").into_bytes(), published)
    }
}

impl Shard {
    fn expire(&mut self, now: u64) {
        self.held.expire(now);
        self.living.expire(now);
        let Held { data, version, versions, ends } = &mut self.held.value;
        let fields = data.len();
        if version.is_none() || versions.len() != fields || ends.len() != fields {
            *self = Self::default();
            return;
        }
        let mut gone: Vec<(u64, String)> =
            ends.iter().map(|(field, end)| (*end, field.clone())).collect();
        gone.retain(|(end, _)| *end <= now);
        gone.sort_unstable();
        for (_, field) in gone.iter().take(100) {
            data.remove(field);
            versions.remove(field);
            ends.remove(field);
        }
    }

    fn live(&mut self, instance: &str, alive: u64, now: u64) -> u64 {
        self.living.value.retain(|_, end| *end > now);
        let before = self.living.value.get(instance).copied().unwrap_or(0);
        if alive > 0 {
            self.living.value.insert(instance.to_owned(), now + alive);
            self.living.keep(now, alive + 1000);
        } else {
            self.living.value.remove(instance);
        }
        before
    }

    fn put(&mut self, args: &[&str], alive: u64, now: u64) -> bool {
        let (mut longest, mut news) = (alive, false);
        let Held { data, version, versions, ends } = &mut self.held.value;
        if alive > 0 {
            version.get_or_insert(0);
        }
        for put in args.chunks(5) {
            let (field, rank, span) = (put[0], put[1], put[2].parse::<u64>().unwrap());
            let number = rank.parse::<f64>().unwrap();
            let reigns = data.get(field).map_or(-1.0, |(rank, _)| *rank);
            if number > reigns {
                let next = version.unwrap_or(0) + 1;
                *version = Some(next);
                news |= put[3] == "1";
                let held = format!("{rank} {now} {}", put[4]);
                data.insert(field.to_owned(), (number, held));
                versions.insert(field.to_owned(), next);
            }
            if number >= reigns {
                let end = ends.entry(field.to_owned()).or_default();
                *end = (*end).max(now + span);
                longest = longest.max(span);
            }
        }
        if longest > 0 {
            self.held.keep(now, longest + 1000);
        }
        news
    }
}
