//! Configurations: any text is one, or is answered with complaints that can be found in it.

use std::net::SocketAddr;

use fusebox::breaker::registry::{Draft, Registry};
use fusebox::config::{self, Colour};
use fusebox::stats::Tallies;
use fusebox::table::compile::{Kept, compile};

/// Loads `data`; compiles it, or looks at its complaints.
pub fn check(data: &[u8]) {
    let (text, loaded) = config::load_bytes(data.to_vec());
    let complaints = match &loaded {
        Ok((config, advice)) => {
            let kept = Kept {
                breakers: &Registry::new(1),
                draft: &mut Draft::default(),
                tallies: &mut Tallies::default(),
            };
            let table = compile(config, 1, kept, |_, port| vec![SocketAddr::from(([1; 4], port))]);
            assert_eq!(table.routes.len(), config.http.routes.len());
            advice
        }
        Err(complaints) => {
            assert!(!complaints.is_empty(), "refused without a reason");
            complaints
        }
    };
    for complaint in complaints {
        assert!(complaint.line >= 1 && complaint.column >= 1);
        assert!(!complaint.message.is_empty() && !complaint.remedy.is_empty());
        let part = text.get(complaint.range.clone());
        assert!(part.is_some(), "{complaint:?} lies outside");
    }
    let drawn = config::render("fuzz", &text, complaints, Colour::Plain);
    assert_eq!(drawn.is_empty(), complaints.is_empty());
}
