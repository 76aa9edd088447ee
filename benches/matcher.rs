//! Finding a route among 10, 1,000 and 10,000, checking a path's spelling, compiling a large table.
//!
//! Goals: a look-up within 100 ns and a compile within 200 ms, both with 10,000 routes.

mod shops;

use divan::{Bencher, black_box};
use fusebox::config::{Config, PathRules};
use fusebox::table::Table;
use fusebox::table::matcher::{Captures, Match};
use fusebox::table::spelling::clean;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn main() {
    divan::main();
}

/// Another route at each look-up, so that the tree of 10,000 is not one branch in the cache.
#[divan::bench(args = SIZES, sample_size = 10_000)]
fn literal(bencher: Bencher<'_, '_>, routes: usize) {
    let table = shops::table(&config(routes));
    let paths: Vec<String> =
        (0..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/items")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn param(bencher: Bencher<'_, '_>, routes: usize) {
    let table = shops::table(&config(routes));
    let paths: Vec<String> =
        (1..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/users/12345")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn rest(bencher: Bencher<'_, '_>, routes: usize) {
    let table = shops::table(&config(routes));
    let paths: Vec<String> =
        (2..routes).step_by(3).map(|nth| format!("/api/v1/shop{nth}/files/a/b.png")).collect();
    look_up(bencher, &table, &paths, b"GET");
}

#[divan::bench(args = SIZES, sample_size = 10_000)]
fn not_found(bencher: Bencher<'_, '_>, routes: usize) {
    let table = shops::table(&config(routes));
    bencher.bench_local(|| {
        let mut captures = Captures::default();
        table.matcher.find(b"localhost", black_box(b"/api/v1/shop/items"), b"GET", &mut captures)
    });
}

fn look_up(bencher: Bencher<'_, '_>, table: &Table, paths: &[String], method: &[u8]) {
    let mut paths = paths.iter().cycle();
    bencher.bench_local(|| {
        let path = paths.next().map_or(&b"/"[..], |path| path.as_bytes());
        let mut captures = Captures::default();
        let found = table.matcher.find(b"localhost", black_box(path), method, &mut captures);
        assert!(matches!(found, Match::Route(_)));
        (found, captures)
    });
}

#[divan::bench(args = ["/users", "/api/v1/shop123/users/12345/orders", "/a%20b/%2e%2e%2e/c"])]
fn spelling(path: &str) -> bool {
    clean(black_box(path.as_bytes()), PathRules::Normal)
}

#[divan::bench(args = [10_000], sample_count = 10)]
fn compiling(bencher: Bencher<'_, '_>, routes: usize) {
    let config = config(routes);
    bencher.bench_local(|| shops::table(black_box(&config)));
}

fn config(routes: usize) -> Config {
    shops::config(routes).unwrap_or_else(|why| unreachable!("{why}"))
}
