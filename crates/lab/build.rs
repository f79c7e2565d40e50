//! Compiles `pause/pause.rs`, a program of its own without a standard library, with the compiler
//! that compiles this crate; `pod::sandbox` embeds the result.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "pause/pause.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(variable("OUT_DIR")).join("pause");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition=2024", "--crate-name=pause", "--crate-type=bin"])
        .args(["--target", &variable("TARGET"), SOURCE, "-o"])
        .arg(&out)
        .args(["-Cpanic=abort", "-Copt-level=z", "-Ccodegen-units=1", "-Cstrip=symbols"])
        .args(["-Crelocation-model=static", "-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib"])
        .args(["-Clink-arg=-static", "-Clink-arg=-no-pie", "-Clink-arg=-Wl,--build-id=none"]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("start {rustc:?}: {error}"));
    assert!(status.success(), "compile {SOURCE}: {rustc:?} ended with {status}");
}
