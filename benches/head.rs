//! Heads on their way through the proxy: read, checked and written anew.

mod heads;

use divan::Bencher;
use heads::Heads;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 1_000)]
fn request(bencher: Bencher<'_, '_>) {
    let mut heads = Heads::new();
    bencher.bench_local(|| assert!(heads.request().is_ok()));
}

#[divan::bench(sample_size = 1_000)]
fn response(bencher: Bencher<'_, '_>) {
    let mut heads = Heads::new();
    bencher.bench_local(|| assert!(heads.response().is_ok()));
}
