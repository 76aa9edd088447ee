//! A table of many shops, for benches.
//!
//! Enters: how many routes. Leaves: their configuration, and the table that is compiled from it.

use fusebox::breaker::registry::{Draft, Registry};
use fusebox::config::{self, Config};
use fusebox::stats::Tallies;
use fusebox::table::Table;
use fusebox::table::compile::{Kept, compile};

/// So many routes with a breaker each, by turns a literal path, one with a param, one with a rest,
/// each under a shop of its own.
pub(crate) fn config(routes: usize) -> Result<Config, String> {
    let route = |nth: usize| {
        let tail = ["items", "users/:id", "files/*rest"].get(nth % 3).unwrap_or(&"");
        let host = format!("10.0.{}.{}:8080", nth / 250 % 250, nth % 250);
        format!(
            r#""/api/v1/shop{nth}/{tail}": {{ "GET": {{
                "services": {{ "shop": {{ "url": "http://{host}/" }} }},
                "circuitBreaker": {{ "maxFailures": 10, "resetTimeout": "30s" }} }} }}"#
        )
    };
    let routes: Vec<String> = (0..routes).map(route).collect();
    let text = format!(r#"{{ "http": {{ "routes": {{ {} }} }} }}"#, routes.join(","));
    config::load(&text).map(|(config, _)| config).map_err(|complaints| format!("{complaints:?}"))
}

/// The table of `config`, for four cores.
pub(crate) fn table(config: &Config) -> Table {
    let kept = Kept {
        breakers: &Registry::new(4),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    compile(config, 1, kept, |_, port| [([127, 0, 0, 1], port).into()].into())
}
