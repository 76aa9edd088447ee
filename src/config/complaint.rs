//! What is wrong with a document, where, and what to do about it.
//!
//! Enters: faults with byte ranges. Leaves: [`Complaint`]s with line and column, sorted, capped;
//! rendered for a terminal, or serialised for the admin API. Owns the codes, and is the only file
//! that knows how a diagnostic is drawn.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

use super::lines::{Lines, floor};
use super::mask;

/// More complaints than this help nobody: the rest is counted only.
pub const COMPLAINTS_MAX: usize = 50;

/// Longer lines are not drawn, only named: no terminal shows them.
const LINE_BYTES_MAX: usize = 4096;

/// What kind of fault a complaint is about. `F` refuses the document, `L` is advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Code {
    /// A key that no one reads.
    #[serde(rename = "F001")]
    UnknownKey,
    /// A value of the wrong type.
    #[serde(rename = "F002")]
    WrongType,
    /// A duration, size, share or status that cannot be read.
    #[serde(rename = "F003")]
    BadUnit,
    /// A key written twice in one object.
    #[serde(rename = "F004")]
    DuplicateKey,
    /// Not a document at all: broken syntax, too large, too deep.
    #[serde(rename = "F005")]
    Syntax,
    /// A word that is not one of those known here.
    #[serde(rename = "F006")]
    UnknownWord,
    /// A number out of its range.
    #[serde(rename = "F007")]
    OutOfRange,
    /// A key that must be there and is not.
    #[serde(rename = "F008")]
    Missing,
    /// A name that nothing in the document bears.
    #[serde(rename = "F009")]
    UnknownName,
    /// A path, method or host that cannot be served.
    #[serde(rename = "F010")]
    BadPattern,
    /// A URL that cannot be called.
    #[serde(rename = "F011")]
    BadUrl,
    /// Two routes or hosts for the same requests.
    #[serde(rename = "F012")]
    Overlap,
    /// Keys that do not go together, or only together.
    #[serde(rename = "F013")]
    Conflict,
    /// An address that cannot be listened on, or a network that is none.
    #[serde(rename = "F014")]
    BadAddress,
    /// More of something than there is room for.
    #[serde(rename = "F015")]
    TooMany,
    /// A key that a reload changes and that is read at start only.
    #[serde(rename = "F016")]
    FixedAtStart,
    /// A key of the contract that this version does not serve yet.
    #[serde(rename = "F090")]
    NotBuilt,
    /// Stands for the errors beyond [`COMPLAINTS_MAX`].
    #[serde(rename = "F099")]
    MoreErrors,
    /// A breaker that counts failures for ever.
    #[serde(rename = "L001")]
    NoWindow,
    /// A duration that the library of seed B read differently.
    #[serde(rename = "L002")]
    ReadDifferently,
    /// Stands for the advice beyond [`COMPLAINTS_MAX`].
    #[serde(rename = "L099")]
    MoreAdvice,
}

/// Whether a complaint refuses the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It is advice.
    Warning,
}

/// Whether a rendering has colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// ANSI colours.
    Ansi,
    /// None.
    Plain,
}

/// One thing that is wrong, or could be better.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// What kind of fault.
    pub code: Code,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// JSON pointer of the value.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The bytes of the text that are drawn.
    #[serde(skip)]
    pub range: Range<usize>,
    /// A second place that belongs to the fault, and what it is.
    #[serde(skip)]
    pub other: Option<(Range<usize>, String)>,
}

/// A fault before its line and column are known.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) pointer: String,
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) remedy: String,
    pub(super) other: Option<(Range<usize>, String)>,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 21] = [
        Self::UnknownKey,
        Self::WrongType,
        Self::BadUnit,
        Self::DuplicateKey,
        Self::Syntax,
        Self::UnknownWord,
        Self::OutOfRange,
        Self::Missing,
        Self::UnknownName,
        Self::BadPattern,
        Self::BadUrl,
        Self::Overlap,
        Self::Conflict,
        Self::BadAddress,
        Self::TooMany,
        Self::FixedAtStart,
        Self::NotBuilt,
        Self::MoreErrors,
        Self::NoWindow,
        Self::ReadDifferently,
        Self::MoreAdvice,
    ];

    /// As it is written: `F001`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKey => "F001",
            Self::WrongType => "F002",
            Self::BadUnit => "F003",
            Self::DuplicateKey => "F004",
            Self::Syntax => "F005",
            Self::UnknownWord => "F006",
            Self::OutOfRange => "F007",
            Self::Missing => "F008",
            Self::UnknownName => "F009",
            Self::BadPattern => "F010",
            Self::BadUrl => "F011",
            Self::Overlap => "F012",
            Self::Conflict => "F013",
            Self::BadAddress => "F014",
            Self::TooMany => "F015",
            Self::FixedAtStart => "F016",
            Self::NotBuilt => "F090",
            Self::MoreErrors => "F099",
            Self::NoWindow => "L001",
            Self::ReadDifferently => "L002",
            Self::MoreAdvice => "L099",
        }
    }

    /// Whether it refuses the document.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::NoWindow | Self::ReadDifferently | Self::MoreAdvice => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// Faults → complaints: sorted by place, capped, with line and column.
pub(super) fn complaints(text: &str, mut faults: Vec<Fault>) -> Vec<Complaint> {
    faults.sort_by_key(|fault| (fault.range.start, fault.code));
    faults.dedup_by(|b, a| a.code == b.code && a.range == b.range && a.message == b.message);
    if faults.len() > COMPLAINTS_MAX {
        let more = faults.len() - COMPLAINTS_MAX;
        faults.truncate(COMPLAINTS_MAX + 1);
        if let Some(last) = faults.last_mut() {
            last.code = match last.code.severity() {
                Severity::Error => Code::MoreErrors,
                Severity::Warning => Code::MoreAdvice,
            };
            last.message = format!("and {more} more from here on");
            last.remedy = "mend the ones above and check again".to_owned();
            last.other = None;
        }
    }
    let lines = Lines::of(text);
    faults.into_iter().map(|fault| fault.place(text, &lines)).collect()
}

/// Draws `complaints` about the document `name` with `text`, one after the other.
#[must_use]
pub fn render(name: &str, text: &str, complaints: &[Complaint], colour: Colour) -> String {
    let renderer = match colour {
        Colour::Ansi => Renderer::styled(),
        Colour::Plain => Renderer::plain(),
    }
    .decor_style(DecorStyle::Unicode);
    let text = &mask::masked(text);
    let lines = Lines::of(text);
    let mut out = String::new();
    for complaint in complaints {
        out.push_str(&complaint.draw(name, text, &lines, &renderer));
        out.push('\n');
    }
    out
}

impl Fault {
    fn place(self, text: &str, lines: &Lines) -> Complaint {
        let start = floor(text, self.range.start);
        let (line, first) = lines.at(start);
        let column = 1 + text[first..start].chars().filter(|&c| c != '\u{feff}').count();
        Complaint {
            code: self.code,
            line,
            column,
            pointer: self.pointer,
            message: self.message,
            remedy: self.remedy,
            range: start..floor(text, self.range.end).max(start),
            other: self.other,
        }
    }
}

impl Complaint {
    /// In one line, about the document `name`: for a log that machines read.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        let Self { line, column, message, remedy, .. } = self;
        let severity = match self.code.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{severity}[{}] {name}:{line}:{column}: {message}; {remedy}", self.code.as_str())
    }

    fn draw(&self, name: &str, text: &str, lines: &Lines, renderer: &Renderer) -> String {
        let level = match self.code.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.message.as_str()).id(self.code.as_str());
        let place = format!("{name}:{}:{}", self.line, self.column);
        let pointer = match self.pointer.as_str() {
            "" => "at the top level".to_owned(),
            pointer => format!("at {}", harmless(pointer)),
        };
        let group = match drawn_line(text, lines, &self.range) {
            Some((first, line, range)) => {
                let kind = AnnotationKind::Primary;
                let mut snippet = Snippet::source(line)
                    .line_start(lines.at(first).0)
                    .path(name)
                    .annotation(kind.span(range));
                let mut far = None;
                if let Some((other, label)) = &self.other {
                    match drawn_line(text, lines, other) {
                        Some((same, _, range)) if same == first => {
                            let context = AnnotationKind::Context.span(range);
                            snippet = snippet.annotation(context.label(label.as_str()));
                        }
                        Some((elsewhere, line, range)) => {
                            let context = AnnotationKind::Context.span(range);
                            let line = Snippet::source(line).path(name);
                            let line = line.line_start(lines.at(elsewhere).0);
                            far = Some(line.annotation(context.label(label.as_str())));
                        }
                        None => {}
                    }
                }
                let group = title.element(snippet);
                let group = match far {
                    Some(far) => group.element(far),
                    None => group,
                };
                group.element(Level::NOTE.message(pointer))
            }
            None => title.element(Level::NOTE.message(format!("{place}, {pointer}"))),
        };
        renderer.render(&[group.element(Level::HELP.message(self.remedy.as_str()))])
    }
}

/// The line that `range` begins in, where it starts in the text, and the range within it, clipped
/// to that line. `None` where it is too long to draw.
fn drawn_line<'t>(
    text: &'t str,
    lines: &Lines,
    range: &Range<usize>,
) -> Option<(usize, &'t str, Range<usize>)> {
    let start = floor(text, range.start);
    let (_, first) = lines.at(start);
    let line = text[first..].split('\n').next()?.trim_end_matches('\r');
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let start = (start - first).min(line.len());
    let end = floor(text, range.end).saturating_sub(first).clamp(start, line.len());
    Some((first, line, start..end))
}

/// Text of the document as it goes into a message: short, in backticks.
pub(super) fn quoted(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let text = mask::without_users(text);
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{}`", harmless(&short))
}

/// Text with nothing in it that a terminal obeys or hides.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => harmless.push(c),
            _ => harmless.extend(c.escape_debug()),
        }
    }
    harmless
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word: String = word.chars().take(64).collect::<String>().to_lowercase();
    let near = candidates.into_iter().filter_map(|candidate| {
        let lower = candidate.to_lowercase();
        let distance = strsim::damerau_levenshtein(&word, &lower);
        let allowed = (word.chars().count().max(lower.chars().count()) / 3).max(1);
        let shorter = word.len().min(lower.len());
        let begins_alike =
            shorter >= 4 && word.as_bytes()[..shorter] == lower.as_bytes()[..shorter];
        (distance <= allowed || begins_alike).then(|| {
            let alike = strsim::jaro_winkler(&word, &lower);
            (distance, alike, candidate)
        })
    });
    near.min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))).map(|(_, _, candidate)| candidate)
}

/// `a`, `b` or `c`: what may stand somewhere.
pub(super) fn any_of<'c>(words: impl IntoIterator<Item = &'c str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
