//! Stub.

/// A complaint.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Complaint {
    message: String,
}

/// Colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    Always,
    /// No.
    Never,
}

/// Loads.
pub fn load(text: &str) -> Result<(super::Config, Vec<Complaint>), Vec<Complaint>> {
    Err(vec![Complaint { message: text.len().to_string() }])
}

/// Renders.
#[must_use]
pub fn render(name: &str, _text: &str, complaints: &[Complaint], _colour: Colour) -> String {
    complaints.iter().map(|it| format!("{name}: {}\n", it.message)).collect()
}
