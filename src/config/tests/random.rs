//! What holds for any text: no panic, a place for every complaint, one complaint for one fault.

use super::*;

/// A small generator of our own: the same numbers everywhere, replayed from the seed it prints.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// Loads and draws `text`; whatever it is, every complaint lies inside it.
fn survive(text: &str) -> usize {
    let complaints = match load(text) {
        Ok((_, advice)) => advice,
        Err(errors) => {
            assert!(!errors.is_empty());
            errors
        }
    };
    assert!(complaints.len() <= COMPLAINTS_MAX + 1);
    let lines: Vec<&str> = text.split('\n').collect();
    for complaint in &complaints {
        let Complaint { line, column, range, .. } = complaint;
        assert!(text.get(range.clone()).is_some(), "{complaint:?}");
        assert!(*column <= lines[line - 1].chars().count() + 1, "{complaint:?}");
        let said = complaint.message.chars().chain(complaint.remedy.chars());
        assert!(!said.into_iter().any(char::is_control), "{complaint:?}");
        assert!(!complaint.message.contains("cannot be decoded"), "{complaint:?}\n{text}");
    }
    let sorted = complaints.is_sorted_by_key(|c| (c.line, c.column));
    assert!(sorted, "{complaints:?}");
    let drawn = render("x", text, &complaints, Colour::Ansi);
    assert_eq!(drawn.is_empty(), complaints.is_empty());
    serde_json::to_string(&complaints).unwrap();
    complaints.len()
}

#[test]
fn no_mutation_of_the_full_sample_panics() {
    const PIECES: [&str; 28] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "//",
        "/*",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "0.5",
        "\"\"",
        "\"none\"",
        "\"x\"",
        "{}",
        "[]",
        "\u{feff}",
        "é",
        "\u{1f9e8}",
        "\\ud800",
        "\u{0}",
        "\r\n",
        "\t",
    ];
    for seed in 1..=4000 {
        let mut dice = Dice(seed);
        let source = if seed % 4 == 0 { SEED_B } else { FULL };
        let mut text: Vec<char> = source.chars().collect();
        for _ in 0..=dice.below(4) {
            let at = dice.below(text.len());
            let len = dice.below(12).min(text.len() - at);
            match dice.below(4) {
                0 => drop(text.drain(at..at + len)),
                1 => drop(text.splice(at..at, PIECES[dice.below(PIECES.len())].chars())),
                2 => drop(text.splice(at..at + len, PIECES[dice.below(PIECES.len())].chars())),
                _ => {
                    let from = dice.below(text.len());
                    let piece: Vec<char> = text[from..].iter().take(len * 4).copied().collect();
                    drop(text.splice(at..at, piece));
                }
            }
        }
        let text: String = text.into_iter().collect();
        let survived = std::panic::catch_unwind(|| survive(&text));
        assert!(survived.is_ok(), "seed {seed}");
    }
}

#[test]
fn no_value_in_the_place_of_another_panics() {
    const VALUES: [&str; 16] = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "1e999",
        "99999999999999999999",
        "\"\"",
        "\"none\"",
        "\"\\u0000\"",
        "\"http://:id\"",
        "[]",
        "[null]",
        "{}",
        "{\"\":{}}",
    ];
    for source in [FULL, SEED_A, SEED_B] {
        for (start, end) in values_of(source) {
            for value in VALUES {
                survive(&format!("{}{value}{}", &source[..start], &source[end..]));
            }
        }
    }
}

/// The ranges of all values in a sample.
fn values_of(text: &str) -> Vec<(usize, usize)> {
    use jsonc_parser::ast::Value;
    use jsonc_parser::common::Ranged;
    fn collect(value: &Value<'_>, found: &mut Vec<(usize, usize)>) {
        found.push((value.range().start, value.range().end));
        match value {
            Value::Object(object) => {
                object.properties.iter().for_each(|p| collect(&p.value, found))
            }
            Value::Array(array) => array.elements.iter().for_each(|e| collect(e, found)),
            _ => {}
        }
    }
    let parsed = jsonc_parser::parse_to_ast(text, &Default::default(), &Default::default());
    let mut found = Vec::new();
    collect(&parsed.unwrap().value.unwrap(), &mut found);
    found
}

#[test]
fn odd_texts_are_refused_without_a_panic() {
    for text in ["", " ", "\u{feff}", "\u{feff}{", "\0", "\"", "{\"a\":\"\\ud800\"}", "//", "/*"] {
        survive(text);
    }
    for bracket in ["[", "{\"a\":", "{\"http\":{\"routes\":"] {
        survive(&bracket.repeat(200_000));
    }
    let closed = format!("{}{}", "[".repeat(400), "]".repeat(400));
    survive(&closed);
    survive(&format!("{{\"http\": {closed}}}"));
    survive(&"x".repeat(17 * 1024 * 1024));
    survive(&format!("{{\"{}\": 1}}", "k".repeat(100_000)));
    survive(&format!("{{\"listen\": \"{}\u{1f9e8}\"}}", "é".repeat(100_000)));
}

#[test]
fn a_text_full_of_faults_is_not_kept_in_full() {
    for text in [
        format!("{{\"listen\": [{}1]}}", "1,".repeat(500_000)),
        format!("{{\"listen\": [{}]}}", "\"x\",".repeat(100_000)),
        format!("{{{}}}", "\"k\": 1,".repeat(100_000)),
    ] {
        assert_eq!(survive(&text), COMPLAINTS_MAX + 1);
    }
}

#[test]
fn nothing_a_terminal_obeys_gets_through() {
    for text in [
        "{ \"a\u{1b}[31m\": 1, \"http\": 2 }",
        "{ \"\\u001b[31m\": 1, \"log\": { \"level\": \"\\u001b]0;x\\u0007\" } }",
        "{ \"http\": { \"routes\": { \"/\\u001b[2J\": { \"G\\u0000T\": 1 } } } }",
    ] {
        let complaints = load(text).unwrap_err();
        let drawn = render("x", text, &complaints, Colour::Plain);
        let odd = drawn.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(odd, None, "{drawn:?}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_document() {
    good(&format!("\u{feff}{SEED_A}"));
    let text = "\u{feff}{ \"lisen\": 1, \"http\": 1 }";
    let first = &load(text).unwrap_err()[0];
    assert_eq!((first.line, first.column, &text[first.range.clone()]), (1, 3, "\"lisen\""));
}

#[test]
fn so_many_faults_so_many_complaints() {
    // What to break in the full sample, and how; each is one fault wherever it stands.
    let faults = [
        ("\"workers\": \"auto\"", "\"workers\": \"outo\""),
        ("\"driver\": \"auto\"", "\"drivre\": \"auto\""),
        ("\"level\": \"info\"", "\"level\": 7"),
        ("\"duration\": \"10s\"", "\"duration\": \"10 sekonds\""),
        ("\"errorStatus\": 503", "\"errorStatus\": 5030"),
        ("\"maxFailures\": 10", "\"maxFailures\": 0"),
        ("\"timeoutStatusCode\": 504", "\"timeoutStatusCod\": 504"),
        ("[{ \"name\": \"ops\" }", "[{ \"name\": \"opps\" }"),
        ("[\"500-599\", 429]", "[\"500-599\", \"429x\"]"),
        ("\"retryAfter\": true", "\"retryAfter\": \"true\""),
        ("\"type\": \"log\", \"level\": \"error\"", "\"type\": \"lok\", \"level\": \"error\""),
        ("\"drain\": \"30s\"", "\"drain\": 0"),
        ("\"headers\": 100", "\"headers\": 1000"),
        ("\"trailingSlash\": \"ignore\"", "\"trailingSlash\": \"ignored\""),
        ("6666/users/:id?full=1", "6666/users/:ident?full=1"),
        ("\"use\": \"patient\", \"max", "\"use\": \"patience\", \"max"),
        ("\"connect\": 500", "\"connect\": -500"),
        (
            "\"maxFailures\": 3, \"window\": \"cumulative\"",
            "\"maxFailures\": 3, \"window\": \"fixed\"",
        ),
        ("http://[::1]:7000", "ftp://[::1]:7000"),
        ("\"/reports/(.*)\"", "\"/reports/(.*)/x\""),
        ("\"*.example.com\"", "\"*example.com\""),
    ];
    for seed in 1..=300 {
        let mut dice = Dice(seed);
        let mut text = FULL.to_owned();
        let mut planted = Vec::new();
        for (whole, broken) in faults {
            assert_eq!(FULL.matches(whole).count(), 1, "{whole}");
            if dice.below(3) == 0 {
                text = text.replace(whole, broken);
                planted.push(broken);
            }
        }
        let found = load(&text).err().unwrap_or_default();
        let drawn = render("full.json", &text, &found, Colour::Plain);
        assert_eq!(found.len(), planted.len(), "seed {seed}: {planted:#?}\n{drawn}");
    }
}

#[test]
fn names_are_not_missed_where_their_home_was_misspelt() {
    for (home, slip) in [("handlers", "handlrs"), ("circuitBreakers", "circuitBreaker s")] {
        let text = FULL.replace(&format!("\"{home}\": {{"), &format!("\"{slip}\": {{"));
        let codes: Vec<Code> = load(&text).unwrap_err().iter().map(|c| c.code).collect();
        assert_eq!(codes, [Code::UnknownKey], "{slip}");
    }
}

#[test]
fn more_routes_than_there_is_room_for_are_refused() {
    use std::fmt::Write;
    let mut text = "{\"http\": {\"routes\": {".to_owned();
    for nth in 0..=65_536 {
        let service = "{\"services\": {\"s\": {\"url\": \"http://h\"}}}";
        let _ = write!(text, "\"/r{nth}\": {{\"GET\": {service}}},");
    }
    text.push_str("}}}");
    let complaints = load(&text).unwrap_err();
    assert_eq!(complaints.iter().map(|c| c.code).collect::<Vec<_>>(), [Code::TooMany]);
}
