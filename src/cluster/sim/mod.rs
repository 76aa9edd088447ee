//! Whole clusters under a seed: the machine and the breakers as they are served, a network that
//! loses, doubles, delays and reorders, and a store that stops, forgets and goes back in time.
//!
//! Each play is one promise. `FUSEBOX_SIM_SEED=n` plays one seed again; `FUSEBOX_SIM_SEEDS=n` plays
//! so many of each: `.ci/run` plays a thousand, the unit tests a few.

mod acts;
mod dice;
mod fake;
mod instance;
mod plays;
mod room;
mod server;
mod world;

type Play = fn(u64);

/// Seeds of plays that once failed, with what they found.
const FOUND: [(Play, u64, &str); 7] = [
    (plays::orders, 0, "versions began anew under the eyes of who had seen them"),
    (plays::orders, 1029, "a reset was undone by an opening from before it that was heard after"),
    (plays::tripping, 12, "who opened by age kept its last failures to itself until its next tick"),
    (plays::tripping, 21, "the last part of what it took was told in silence"),
    (plays::tripping, 800, "two told in silence what together it took, and crossed"),
    (plays::weather, 779, "permits of an epoch whose record was lost barred all later ones"),
    (plays::weather, 806, "one that opened right after a reset was taken for reset when it healed"),
];

/// Plays as many seeds as are asked for.
fn seeds(play: Play) {
    crate::breaker::sim::seeds(20, play);
}

#[test]
fn what_was_found_once_stays_mended() {
    for (play, seed, what) in FOUND {
        println!("seed {seed}: {what}");
        play(seed);
    }
}

#[test]
fn no_failure_is_lost_and_none_counted_twice() {
    seeds(plays::counting);
}

#[test]
fn failures_spread_over_instances_open_all_of_them_in_time() {
    seeds(plays::tripping);
}

#[test]
fn a_share_of_many_exchanges_opens_all_in_time() {
    seeds(plays::rates);
}

#[test]
fn one_failure_in_a_hundred_makes_nobody_ask_more_often() {
    plays::chatter();
}

#[test]
fn fewer_failures_than_it_takes_open_nothing() {
    seeds(plays::sparing);
}

#[test]
fn a_round_has_its_probes_and_no_more_wherever_they_are_sent() {
    seeds(plays::probing);
}

#[test]
fn a_permit_that_changes_hands_is_used_once() {
    seeds(plays::idling);
}

#[test]
fn who_refuses_nothing_probes_as_soon_as_who_does() {
    seeds(plays::shadowing);
}

#[test]
fn a_permit_that_nobody_uses_is_kept_in_silence() {
    seeds(plays::renewing);
}

#[test]
fn after_whatever_happened_all_agree_and_close() {
    seeds(plays::storm);
}

#[test]
fn all_of_it_at_once_leaves_nothing_behind() {
    seeds(plays::weather);
}

#[test]
fn one_sick_instance_opens_itself_and_nobody_else() {
    seeds(plays::quorum);
}

#[test]
fn without_the_store_each_goes_on_as_it_is_told_to() {
    seeds(plays::loss);
}

#[test]
fn who_begins_without_the_store_does_as_it_is_told_to() {
    seeds(plays::beginning);
}

#[test]
fn who_was_stopped_has_not_lost_the_store() {
    seeds(plays::stopping);
}

#[test]
fn a_clock_that_jumps_holds_nobody_longer_than_is_allowed() {
    seeds(plays::clocks);
}

#[test]
fn an_order_holds_everywhere_and_ends_everywhere() {
    seeds(plays::orders);
}

#[test]
fn an_order_stands_above_the_mode() {
    seeds(plays::unguarded);
}

#[test]
fn the_last_order_stands_though_the_store_hears_an_older_one() {
    seeds(plays::outdated);
}

#[test]
fn who_begins_anew_learns_what_all_know() {
    seeds(plays::restarting);
}

#[test]
fn who_forgets_counts_nothing_twice() {
    seeds(plays::forgetting);
}

#[test]
fn who_begins_after_a_key_was_evicted_learns_it_too() {
    seeds(plays::evicting);
}

#[test]
fn a_key_that_was_evicted_is_missed_however_much_was_told_since() {
    plays::climbing();
}

#[test]
fn a_reload_mixes_no_counts_and_keeps_the_state() {
    seeds(plays::reloading);
}

#[test]
fn cores_ring_for_the_same_breaker_after_a_reload() {
    plays::regrouping();
}

#[test]
fn breakers_beyond_what_fits_into_one_call_wait_for_the_next() {
    plays::crowd();
}

#[test]
fn no_answer_of_whatever_bytes_is_a_panic() {
    seeds(plays::garbage);
}

#[test]
fn who_leaves_tells_its_last_and_leaves_nothing() {
    seeds(plays::leaving);
}
