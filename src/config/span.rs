//! Durations: what people write → exact time.
//!
//! Enters: a number of milliseconds, or text such as `1m30s` or `2 minutes and 30 seconds`. Leaves:
//! a [`Span`], or what is wrong with the text. Accepts what can be read in one way only, and tells
//! where seed B's library (human-interval 0.1.6) read the same text differently.

use std::time::Duration;

use super::complaint::{Code, nearest, quoted};
use super::units::{Leaf, Misread, Raw};

/// The longest duration: timers count milliseconds in 40 bits, which is 34 years.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A duration above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A duration above zero, or the word `none`: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Option<Duration>);

impl Leaf for Span {
    const UNIT: &'static str = "duration";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        let span = match raw {
            Raw::Number(millis) => from_micros(millis * 1000.0)?,
            Raw::Text(text) => read(text)?.0,
        };
        if span.is_zero() {
            return Err(Misread {
                code: Code::OutOfRange,
                fault: "a duration of zero means nothing here".to_owned(),
                remedy: "write a duration above zero, or leave the key out".to_owned(),
            });
        }
        Ok(Self(span))
    }
}

impl Leaf for Patience {
    const UNIT: &'static str = "duration or none";

    fn read(raw: Raw<'_>) -> Result<Self, Misread> {
        if matches!(raw, Raw::Text("none")) {
            return Ok(Self(None));
        }
        let limit = Span::read(raw).map_err(|misread| match misread.code {
            Code::OutOfRange if misread.fault.contains("zero") => Misread {
                remedy: r#"write a duration above zero, or "none" for no limit"#.to_owned(),
                ..misread
            },
            _ => misread,
        })?;
        Ok(Self(Some(limit.0)))
    }
}

/// What human-interval 0.1.6 made of a text, where that was something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The same.
    Same,
    /// Something else, for this reason.
    Different(&'static str),
}

/// Reads text. Zero is a value here.
///
/// # Errors
/// What is wrong with the text, where it cannot be read in exactly one way.
pub fn read(text: &str) -> Result<(Duration, Reading), Misread> {
    let lower = text.to_ascii_lowercase();
    let tokens = tokens(&lower)?;
    let mut parser = Parser { text: &lower, tokens: &tokens, at: 0 };
    let mut micros = 0.0;
    let mut reading = Reading::Same;
    let mut comma_spent = false;
    let mut abbreviated = false;
    loop {
        let term = parser.term()?;
        micros += term.count * term.unit.micros;
        if term.number == Number::LargeWord {
            reading = Reading::Different("it knew number words up to ten only");
        }
        if term.unit.name == "millisecond" {
            reading = Reading::Different("it read milliseconds as seconds");
        }
        abbreviated |= term.unit.form == Form::Short;
        // It put a comma behind the first term without "and"; a later one without any was lost.
        match parser.separator() {
            Separator::End => break,
            Separator::And => {}
            Separator::Comma => comma_spent = true,
            Separator::None if comma_spent => {
                reading = Reading::Different("it lost the last of three terms without commas");
            }
            Separator::None => comma_spent = true,
        }
    }
    // It could not read abbreviations or capitals at all, so there is nothing to compare with.
    if abbreviated || lower != text {
        reading = Reading::Same;
    }
    Ok((from_micros(micros)?, reading))
}

fn from_micros(micros: f64) -> Result<Duration, Misread> {
    if micros.is_nan() || micros < 0.0 {
        return Err(Misread {
            code: Code::OutOfRange,
            fault: "a duration cannot be negative".to_owned(),
            remedy: "write a duration above zero".to_owned(),
        });
    }
    Duration::try_from_secs_f64(micros.round() / 1e6).ok().filter(|span| *span <= LONGEST).ok_or(
        Misread {
            code: Code::OutOfRange,
            fault: "the duration is longer than ten years".to_owned(),
            remedy: "write a shorter duration".to_owned(),
        },
    )
}

struct Unit {
    name: &'static str,
    micros: f64,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A word: may stand alone, may have a plural.
    Word,
    /// An abbreviation: needs a figure before it.
    Short,
}

const fn unit(name: &'static str, micros: f64, form: Form) -> Unit {
    Unit { name, micros, form }
}

/// Months and years have the lengths that human-interval gave them.
const UNITS: [Unit; 13] = [
    unit("millisecond", 1e3, Form::Word),
    unit("second", 1e6, Form::Word),
    unit("minute", 60e6, Form::Word),
    unit("hour", 3600e6, Form::Word),
    unit("day", 86_400e6, Form::Word),
    unit("week", 7.0 * 86_400e6, Form::Word),
    unit("month", 30.0 * 86_400e6, Form::Word),
    unit("year", 365.0 * 86_400e6, Form::Word),
    unit("ms", 1e3, Form::Short),
    unit("s", 1e6, Form::Short),
    unit("m", 60e6, Form::Short),
    unit("h", 3600e6, Form::Short),
    unit("d", 86_400e6, Form::Short),
];

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 8] =
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'t> {
    Figure(f64),
    Word(&'t str),
    Comma,
    Hyphen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Figure,
    /// Up to ten, an article, or none at all.
    SmallWord,
    LargeWord,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    End,
    None,
    Comma,
    And,
}

struct Term {
    count: f64,
    number: Number,
    unit: &'static Unit,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Misread> {
    let mut tokens = Vec::new();
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            ' ' => 1,
            ',' => {
                tokens.push(Token::Comma);
                1
            }
            'a'..='z' => {
                let len = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..len]));
                len
            }
            '-' if matches!(tokens.last(), Some(Token::Word(_)))
                && rest[1..].starts_with(|c: char| c.is_ascii_lowercase()) =>
            {
                tokens.push(Token::Hyphen);
                1
            }
            '-' => {
                return Err(Misread {
                    code: Code::OutOfRange,
                    fault: format!("{} is negative", quoted(text)),
                    remedy: "write a duration above zero".to_owned(),
                });
            }
            '+' | '.' | '0'..='9' => {
                let len = figure_len(rest);
                let figure = rest[..len].trim_start_matches('+');
                let value = figure.parse().map_err(|_| {
                    unreadable(text, &format!("{} is not a number", quoted(&rest[..len.max(1)])))
                })?;
                tokens.push(Token::Figure(value));
                len
            }
            other => {
                let other = other.to_string();
                return Err(unreadable(text, &format!("{} has no meaning here", quoted(&other))));
            }
        };
        rest = &rest[len..];
    }
    Ok(tokens)
}

/// The bytes of `+1.5e3` at the start of `text`.
fn figure_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let sign = usize::from(bytes.first() == Some(&b'+'));
    let mut len = sign + digits(sign);
    if bytes.get(len) == Some(&b'.') {
        len += 1 + digits(len + 1);
    }
    if bytes.get(len) == Some(&b'e') && digits(len + 1) > 0 {
        len += 1 + digits(len + 1);
    }
    len
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [Token<'t>],
    at: usize,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<Token<'t>> {
        self.tokens.get(self.at).copied()
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(Token::Word(word));
        self.at += usize::from(found);
        found
    }

    /// `[number] unit`.
    fn term(&mut self) -> Result<Term, Misread> {
        let (count, number) = self.number();
        let Some(Token::Word(word)) = self.peek() else {
            let fault = match self.tokens.get(self.at.wrapping_sub(1)) {
                None if self.tokens.is_empty() => "it is empty".to_owned(),
                Some(Token::Figure(figure)) => format!("`{figure}` has no unit"),
                _ => "it ends too early, or has a sign too many".to_owned(),
            };
            return Err(unreadable(self.text, &fault));
        };
        let singular = word.strip_suffix('s').unwrap_or(word);
        let unit = UNITS.iter().find(|unit| match unit.form {
            Form::Word => unit.name == singular,
            Form::Short => unit.name == word && number == Number::Figure,
        });
        let Some(unit) = unit else {
            return Err(self.unknown(word));
        };
        self.at += 1;
        Ok(Term { count, number, unit })
    }

    fn number(&mut self) -> (f64, Number) {
        if let Some(Token::Figure(figure)) = self.peek() {
            self.at += 1;
            return (figure, Number::Figure);
        }
        if self.take_word("a") || self.take_word("an") {
            return (1.0, Number::SmallWord);
        }
        let tens = (20_u8..).step_by(10).zip(TENS).find(|(_, word)| self.take_word(word));
        let start = self.at;
        if tens.is_some() && self.peek() == Some(Token::Hyphen) {
            self.at += 1;
        }
        let smallest = u8::from(tens.is_some());
        let count = if tens.is_some() { 9 } else { SMALL.len() };
        let small = (smallest..).zip(&SMALL[usize::from(smallest)..]).take(count);
        let small = small.into_iter().find(|(_, word)| self.take_word(word));
        if small.is_none() {
            self.at = start;
        }
        match (tens.map(|(n, _)| n), small.map(|(n, _)| n)) {
            (None, None) => (1.0, Number::SmallWord),
            (None, Some(n @ 0..=10)) => (f64::from(n), Number::SmallWord),
            (tens, small) => (f64::from(tens.unwrap_or(0) + small.unwrap_or(0)), Number::LargeWord),
        }
    }

    fn separator(&mut self) -> Separator {
        let comma = self.peek() == Some(Token::Comma);
        self.at += usize::from(comma);
        let and = self.take_word("and");
        match self.peek() {
            _ if comma => Separator::Comma,
            _ if and => Separator::And,
            None => Separator::End,
            Some(_) => Separator::None,
        }
    }

    fn unknown(&self, word: &str) -> Misread {
        let plurals = UNITS.iter().filter(|unit| unit.form == Form::Word).map(|unit| unit.name);
        let unit = match word {
            "sec" | "secs" => Some("second"),
            "min" | "mins" => Some("minute"),
            "hr" | "hrs" => Some("hour"),
            "msec" | "msecs" | "millis" => Some("ms"),
            _ => nearest(word.trim_end_matches('s'), plurals.clone()),
        };
        let known = SMALL.into_iter().chain(TENS).chain(["and"]);
        let meant = match unit {
            Some(unit) if word.ends_with('s') && unit != "ms" => Some(format!("{unit}s")),
            Some(unit) => Some(unit.to_owned()),
            None => nearest(word, known).map(str::to_owned),
        };
        let fault = format!("unknown word {}", quoted(word));
        let mut misread = unreadable(self.text, &fault);
        if let Some(meant) = meant {
            let fixed = self.text.replacen(word, &meant, 1);
            misread.remedy = format!("did you mean {}? {}", quoted(&fixed), misread.remedy);
        }
        misread
    }
}

fn unreadable(text: &str, why: &str) -> Misread {
    Misread {
        code: Code::BadUnit,
        fault: format!("{} is not a duration: {why}", quoted(text)),
        remedy:
            r#"accepted: "150ms", "1m30s", "2 minutes and 30 seconds", or milliseconds as a number"#
                .to_owned(),
    }
}
