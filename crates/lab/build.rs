//! Compiles `pause/pause.rs`, a program of its own without a standard library, with the compiler
//! that compiles this crate; `pod::sandbox` embeds the result.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "pause/pause.rs";

/// What its compiler is told, line by line; `cargo xtask image` tells it the same.
const ARGUMENTS: &str = "pause/rustc.args";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed={ARGUMENTS}");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .arg(format!("@{ARGUMENTS}"))
        .args(["--target", &variable("TARGET"), SOURCE, "-o"])
        .arg(&out);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("start {rustc:?}: {error}"));
    assert!(status.success(), "compile {SOURCE}: {rustc:?} ended with {status}");
}
