//! Stub.

/// The schema.
#[must_use]
pub fn schema() -> String {
    String::new()
}
