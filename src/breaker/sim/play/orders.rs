//! The orders in which operations that overlapped may have taken place.
//!
//! Enters: operations, as they were seen from outside, and the states before them. Leaves: the
//! states after every order that the model allows.

use std::collections::BTreeMap;

use super::super::model::{Asked, Deed, Model};

/// One operation, as it was seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) began: u64,
    pub(super) ended: u64,
    /// In this order.
    pub(super) asked: Vec<Asked>,
}

/// The states after every order of `history` that the model allows.
pub(super) fn orders(models: &[Model], history: &[Seen]) -> Vec<Model> {
    // By how much of each operation has taken place.
    let mut layer: BTreeMap<Vec<usize>, Vec<Model>> =
        BTreeMap::from([(vec![0; history.len()], models.to_vec())]);
    let deeds: usize = history.iter().map(|seen| seen.asked.len()).sum();
    for _ in 0..deeds {
        let mut next: BTreeMap<Vec<usize>, Vec<Model>> = BTreeMap::new();
        for (done, models) in &layer {
            // What has not ended yet when another begins may come after it.
            let open = |nth: usize| done[nth] < history[nth].asked.len();
            let first = (0..history.len()).filter(|&nth| open(nth)).map(|nth| history[nth].ended);
            let first = first.min().unwrap_or(u64::MAX);
            for nth in (0..history.len()).filter(|&nth| open(nth) && history[nth].began < first) {
                let mut done = done.clone();
                let asked = &history[nth].asked[done[nth]];
                done[nth] += 1;
                let seen = &history[nth];
                let rival = |&other: &usize| {
                    let its = &history[other];
                    let asks =
                        matches!(its.asked.last(), Some(Asked { deed: Deed::Admit { .. }, .. }));
                    other != nth && asks && done[other] < its.asked.len() && its.began < seen.ended
                };
                let rivals = (0..history.len()).filter(rival).count();
                let found = next.entry(done).or_default();
                let span = (seen.began, seen.ended);
                for after in models.iter().flat_map(|model| model.after(asked, span, rivals)) {
                    if !found.contains(&after) {
                        found.push(after);
                    }
                }
            }
        }
        next.retain(|_, models| !models.is_empty());
        layer = next;
    }
    layer.into_values().flatten().collect()
}

/// What was seen, to be read.
pub(super) fn told(history: &[Seen]) -> String {
    let (mut lines, mut last) = (Vec::new(), None);
    for Seen { began, ended, asked } in history {
        lines.push(format!("{began}..{ended}"));
        for Asked { policy, now, deed } in asked {
            if last != Some(policy) {
                lines.push(format!("  under {policy:?}"));
                last = Some(policy);
            }
            lines.push(format!("  {now} ms: {deed:?}"));
        }
    }
    lines.join("\n")
}
