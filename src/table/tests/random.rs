//! The matcher beside a scan that reads the contract aloud, over random sets of routes.

use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn path(&mut self, parts: &[&str]) -> String {
        let path: String = (0..self.roll(5)).map(|_| format!("/{}", self.pick(parts))).collect();
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

#[test]
fn agrees_with_a_naive_scan_over_random_route_sets() {
    let base = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = base.map_or(1..3000, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let trailing_slash = [TrailingSlash::Ignore, TrailingSlash::Strict][dice.roll(2)];
        let hosts = ["", "", "h.test ", "a.h.test ", "*.h.test ", "*.test "];
        let mut routes: Vec<String> = Vec::new();
        for _ in 0..dice.roll(14) {
            let host = dice.pick(&hosts);
            let method = dice.pick(&["GET", "POST", "ALL", "HEAD"]);
            let mut path = dice.path(&["a", "b", "ab", ":p"]);
            if dice.roll(4) == 0 {
                path = format!("{}/(.*)", path.trim_end_matches('/'));
            }
            let route = format!("{host}{method} {path}");
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
        let table = routed(&routes, trailing_slash);
        let read: Vec<cfg::Route> = routes.iter().map(|text| route(text)).collect();
        for _ in 0..60 {
            let host =
                dice.pick(&["x.org", "h.test", "a.h.test", "b.h.test", "c.b.h.test", "test"]);
            let method = dice.pick(&["GET", "POST", "HEAD", "PUT"]);
            let path = dice.path(&["a", "b", "ab", "c", "", "%61"]);
            let request = format!("{host} {method} {path}");
            let expected = scan(&read, trailing_slash, host, &path, method);
            assert_eq!(found(&table, &request), expected, "SEED={seed} {request} {routes:#?}");
        }
    }
}

/// The contract read aloud: the host's routes, those that fit, the most specific, its methods.
fn scan(
    routes: &[cfg::Route],
    trailing_slash: TrailingSlash,
    host: &str,
    path: &str,
    method: &str,
) -> String {
    let fits_host = |pattern: &HostPattern| match pattern {
        HostPattern::Default => 1,
        HostPattern::Exact(name) if name == host => usize::MAX,
        HostPattern::Below(name) if host.ends_with(&format!(".{name}")) => 1 + name.len(),
        _ => 0,
    };
    let best_host = routes.iter().map(|route| fits_host(&route.host)).max().unwrap_or(0).max(1);
    let here = routes.iter().filter(|route| fits_host(&route.host) == best_host);
    let fitting = here.filter_map(|route| {
        let (rank, takes) = fit(&route.path.segments, trailing_slash, path)?;
        Some((rank, takes, route))
    });
    let fitting: Vec<_> = fitting.collect();
    let Some(best) = fitting.iter().map(|(rank, ..)| rank).min() else { return "404".to_owned() };
    let chosen = || fitting.iter().filter(|(rank, ..)| rank == best);
    let by = |wanted: Option<&str>| chosen().find(|(.., route)| route.method.as_deref() == wanted);
    let get = if method == "HEAD" { by(Some("GET")) } else { None };
    if let Some((_, takes, route)) = by(Some(method)).or(get).or(by(None)) {
        return format!("{}{takes}", super::super::compile::route_name(route));
    }
    let mut allow: Vec<_> = chosen().filter_map(|(.., route)| route.method.as_deref()).collect();
    if allow.contains(&"GET") {
        allow.push("HEAD");
    }
    allow.sort_unstable();
    allow.dedup();
    format!("405 allow: {}", allow.join(", "))
}

/// Whether a pattern fits, how specific it is segment by segment (less is more), what it takes.
fn fit(
    pattern: &[Segment],
    trailing_slash: TrailingSlash,
    path: &str,
) -> Option<(Vec<u8>, String)> {
    let mut parts: Vec<&str> = path[1..].split('/').collect();
    if path == "/" || trailing_slash == TrailingSlash::Ignore && parts.last() == Some(&"") {
        parts.pop();
    }
    let (mut rank, mut takes, mut at) = (Vec::new(), String::new(), 1);
    for (nth, segment) in pattern.iter().enumerate() {
        match (segment, parts.get(nth)) {
            (Segment::Rest(_), _) => {
                rank.push(3);
                takes += &format!(" [{}]", path.get(at..).unwrap_or_default());
                return Some((rank, takes));
            }
            (Segment::Literal(literal), Some(part)) if literal == part => rank.push(1),
            (Segment::Param(_), Some(part)) if !part.is_empty() => {
                rank.push(2);
                takes += &format!(" [{part}]");
            }
            _ => return None,
        }
        at += parts[nth].len() + 1;
    }
    rank.push(0);
    (parts.len() == pattern.len()).then_some((rank, takes))
}
