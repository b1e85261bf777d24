//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = std::env::var("TARGET").unwrap_or_default();
    // Forty thousand relocations take a megabyte of memory for as long as the program runs, packed a few pages. Needs
    // glibc 2.36 at run time, and the linker that Rust brings for this target.
    if target == "x86_64-unknown-linux-gnu" {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
