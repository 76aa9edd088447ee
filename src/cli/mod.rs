//! argv → command → exit code.

pub mod plan;
