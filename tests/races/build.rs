//! Turns loom's atomics on, for this package alone: the flag would change other libraries too.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(loom)");
    println!("cargo::rustc-cfg=loom");
}
