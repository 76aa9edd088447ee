//! Every sample of `config/` gives exactly the complaints written beside it.

#![allow(clippy::disallowed_methods, reason = "tests read the samples from disk")]

use std::path::Path;

use super::*;

fn listing(complaints: &[Complaint]) -> String {
    let line = |c: &Complaint| {
        let (code, pointer) = (c.code.as_str(), &c.pointer);
        format!("{code} {}:{} {pointer}: {}\n", c.line, c.column, c.message)
    };
    complaints.iter().map(line).collect()
}

/// Runs every `*.json` of a folder; `pick` gives the complaints that are expected.
fn compare(folder: &str, least: usize, pick: fn(&str) -> Vec<Complaint>) -> Vec<Complaint> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(folder);
    let mut differing = Vec::new();
    let mut all = Vec::new();
    let mut names: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|ext| ext == "json"));
    names.sort();
    assert!(names.len() >= least, "samples are missing: {}", names.len());
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let complaints = pick(&text);
        check_each(&text, &complaints);
        let actual = listing(&complaints);
        let beside = path.with_extension("expected");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&beside, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if actual != expected {
            let name = path.file_name().unwrap().display();
            differing.push(format!("{name}\n--- expected\n{expected}--- found\n{actual}"));
        }
        all.extend(complaints);
    }
    assert!(
        differing.is_empty(),
        "{}\nif all of this is right: UPDATE=1 cargo test --lib config",
        differing.join("\n")
    );
    all
}

fn check_each(text: &str, complaints: &[Complaint]) {
    let drawn = render("sample.json", text, complaints, Colour::Plain);
    if std::env::var_os("DRAW").is_some() {
        println!("{drawn}");
    }
    for complaint in complaints {
        assert!(!complaint.message.ends_with('.'), "{complaint:?}");
        assert!(!complaint.remedy.is_empty() && !complaint.remedy.ends_with('.'), "{complaint:?}");
        assert!(drawn.contains(&complaint.message), "{drawn}");
    }
    assert!(!drawn.contains('\u{1b}'));
}

#[test]
fn every_invalid_sample_gives_its_complaints() {
    let all = compare("invalid", 25, |text| load(text).err().unwrap_or_default());
    for code in Code::ALL.into_iter().filter(|code| code.severity() == Severity::Error) {
        if matches!(code, Code::TooMany | Code::FixedAtStart) {
            continue; // 65,537 routes, and a running process, have tests of their own.
        }
        assert!(all.iter().any(|c| c.code == code), "no sample for {}", code.as_str());
    }
    for row in not_built() {
        let said = |c: &Complaint| c.code == Code::NotBuilt && c.message.ends_with(row.says);
        assert!(all.iter().any(said), "no sample for {row:?}");
    }
}

#[test]
fn every_sample_with_advice_gives_its_advice() {
    let all = compare("advice", 2, |text| good(text).1);
    for code in [Code::NoWindow, Code::ReadDifferently] {
        assert!(all.iter().any(|c| c.code == code), "no sample for {}", code.as_str());
    }
}
