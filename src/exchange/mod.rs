//! One request from head to settled.

pub mod merge;
