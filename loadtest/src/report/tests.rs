//! Reports against their goldens. `UPDATE=1 cargo test -p loadtest report` writes them anew: read
//! the difference before you believe it.

#![allow(clippy::too_many_lines, clippy::disallowed_methods, reason = "data, and goldens")]

use std::fs;
use std::path::Path;

use super::section::Latency;
use super::*;
use crate::own::Own;
use crate::point::Point;
use crate::proxy::watch::Bar;

/// A report with a bit of everything.
fn sample() -> Report {
    let point = |nth: u32| {
        let at_s = f64::from(nth) / 2.0;
        let is_sick = (2..4).contains(&nth);
        Point {
            at_s,
            good: if is_sick { 100.0 } else { 1000.0 },
            refused: if is_sick { 890.0 } else { 0.0 },
            bad: if is_sick { 10.0 } else { 0.0 },
            p50_ms: 0.25,
            p99_ms: 1.5 + at_s,
            max_ms: 12.0,
        }
    };
    let bar = |state: &str, from_s, to_s| Bar {
        breaker: "GET /<users>".to_owned(),
        state: state.to_owned(),
        from_s,
        to_s,
    };
    let latency = |kind: &str, p50| Latency {
        kind: kind.to_owned(),
        p50,
        p90: p50 * 2.0,
        p99: p50 * 4.0,
        p999: p50 * 8.0,
        max: 1234.5,
    };
    let own = Own { busy: 0.41, displaced: 0.02, late: 0.0, lag_p99_ms: 0.031, limit: None };
    let section = |name: &str, own| Section {
        name: name.to_owned(),
        plan: "open loop, 1,000/s planned · 64 connections · 3.0 s".to_owned(),
        rate: 998.7,
        counts: vec![("200".to_owned(), 2100), ("503".to_owned(), 890), ("reset".to_owned(), 1)],
        latencies: vec![latency("good", 0.25), latency("refused", 0.06)],
        series: (0..6).map(point).collect(),
        bars: vec![bar("closed", 0.0, 1.0), bar("open", 1.0, 2.0), bar("half_open", 2.0, 2.01)],
        marks: vec![(1.0, "sick".to_owned()), (2.0, "well & good".to_owned())],
        own,
    };
    let limit = Some("a thread of it was busy 97%".to_owned());
    let figure = |name: &str, value, unit: &str, limit, weight| Figure {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        limit,
        weight,
    };
    Report {
        name: "sample".to_owned(),
        about: "a bit of everything, </script> included".to_owned(),
        machine: Machine {
            processor: "Model 1".to_owned(),
            processors: 2,
            kernel: "6.18".to_owned(),
            unix_seconds: 1_700_000_000,
            load: "0.50".to_owned(),
        },
        settings: vec![("proxy on processors".to_owned(), "[0]".to_owned())],
        sections: vec![section("brown-out", own.clone()), section("full", Own { limit, ..own })],
        figures: vec![
            figure(
                "reached the origin while open",
                0.0,
                "requests",
                Limit::AtMost(0.0),
                Weight::Correct,
            ),
            figure("times it opened", 0.0, "", Limit::AtLeast(1.0), Weight::Correct),
            figure("refused within, p99", 2.5, "ms", Limit::AtMost(2.0), Weight::Speed),
            figure("requests a second, at most", 64_640.4, "/s", Limit::None, Weight::Speed),
        ],
        tables: vec![Table {
            title: "64 connections".to_owned(),
            columns: ["", "CPU us", "× nginx"].map(str::to_owned).to_vec(),
            rows: vec![
                ["fusebox", "11.90 (11.20–12.10)", "0.81"].map(str::to_owned).to_vec(),
                ["nginx", "14.69 (13.99–15.08)", "1.00"].map(str::to_owned).to_vec(),
            ],
        }],
        notes: vec!["read it with care".to_owned()],
        skipped: vec!["envoy: not on the PATH".to_owned()],
    }
}

#[track_caller]
fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let differing = golden.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(golden == found, "{name} differs in line {differing:?} of {}", path.display());
}

#[test]
fn a_report_is_text_markdown_and_json() {
    let report = sample();
    assert_golden("sample.txt", &text(&report));
    assert_golden("sample.md", &markdown(&report));
    let json = serde_json::to_string_pretty(&report).unwrap();
    assert_golden("sample.json", &json);
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn a_report_is_a_page_of_its_own() {
    let found = page(&[sample()]);
    assert_golden("sample.html", &found);
    for foreign in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!found.contains(foreign), "{foreign}");
    }
    // The data ends where the page ends it, and is the report.
    let (_, data) = found.split_once("id=\"data\">").unwrap();
    let (data, rest) = data.split_once("</script>").unwrap();
    assert_eq!(rest.trim(), "</main></body></html>");
    assert_eq!(serde_json::from_str::<Vec<Report>>(data).unwrap(), [sample()]);
    assert!(found.len() < 60_000, "{}", found.len());
}

#[test]
fn every_open_tag_of_the_page_is_closed() {
    let found = page(&[sample(), sample()]);
    let (found, _) = found.split_once("<script").unwrap(); // what follows is data
    let void = ["!doctype", "meta", "path", "rect"];
    let mut open: Vec<&str> = Vec::new();
    for tag in found.split('<').skip(1) {
        let name = tag.split([' ', '>', '\n']).next().unwrap();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "near {tag:.60}");
            continue;
        }
        let is_empty = tag.split('>').next().unwrap().ends_with('/');
        let is_void = void.contains(&name) && (is_empty || name.starts_with(['!', 'm']));
        if !is_void {
            open.push(name);
        }
    }
    assert_eq!(open, ["html", "body", "main"]);
}

#[test]
fn broken_limits_and_doubtful_numbers_are_failures_and_speed_can_be_excused() {
    let all = sample().failures(|_| true);
    assert_eq!(all.len(), 3, "{all:?}");
    let correct = sample().failures(|weight| weight == Weight::Correct);
    assert_eq!(correct.len(), 1);
    assert_eq!(correct[0], "sample: times it opened is 0, should be at least 1");
}

#[test]
fn numbers_are_written_for_people() {
    let words = [0.0, 0.0631, 9.999, 12.34, 999.96, 1234.5, -1_234_567.0].map(text::number);
    assert_eq!(words, ["0", "0.063", "9.999", "12.3", "1000.0", "1,235", "-1,234,567"]);
}
