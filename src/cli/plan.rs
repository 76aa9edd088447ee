//! Stub.
use crate::config::Config;
use crate::table::Table;

/// The compiled plan as text.
#[must_use]
pub fn plan(config: &Config, table: &Table) -> String {
    let _ = (config, table);
    String::new()
}
