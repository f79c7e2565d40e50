//! The programs in the images: `seaway`, linked statically, and `pause`.

use std::path::{Path, PathBuf};

use super::elf;
use crate::run::{Result, cargo, command, root, step};

/// How `seaway` is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// As it is released: optimized, and without the paths of the machine that builds it.
    Release,
    /// For tests: what they have built already, linked once more.
    Dev,
}

/// Where the pause program and what its compiler is told are.
const PAUSE: &str = "crates/lab/pause";

/// How large the pause program may be, in bytes: four pages.
const LARGEST_PAUSE: usize = 16 * 1024;

/// `seaway`, linked statically.
///
/// # Errors
/// If it can't be built, or needs a dynamic linker all the same.
pub(crate) fn seaway(build: Build) -> Result<Vec<u8>> {
    let link = ["--", "-Ctarget-feature=+crt-static"];
    let what = ["rustc", "--quiet", "--locked", "--package", "seaway", "--bin", "seaway"];
    let target = root().join("target");
    let (mut cargo, made) = match build {
        Build::Release => {
            let target = target.join("image/build");
            let mut cargo = cargo(&[&what[..], &["--release"], &link].concat());
            cargo.env("CARGO_TARGET_DIR", &target).env("CARGO_ENCODED_RUSTFLAGS", remaps());
            (cargo, target.join("release/seaway"))
        }
        Build::Dev => {
            let small = ["-Cstrip=symbols"];
            (cargo(&[&what[..], &link, &small].concat()), target.join("debug/seaway"))
        }
    };
    step("link seaway statically", &mut cargo)?;
    read_static(&made)
}

/// Has the compiler write other paths than those of this machine: everybody's are the same.
fn remaps() -> String {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.unwrap_or_else(|| home.join(".cargo"));
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    [remap(&root(), "/seaway"), remap(&cargo_home, "/cargo")].join("\u{1f}")
}

/// `pause`.
///
/// # Errors
/// If it can't be compiled, or is not small.
pub(crate) fn pause() -> Result<Vec<u8>> {
    let made = root().join("target/image/pause");
    let mut rustc = command("rustc", &["@rustc.args", "pause.rs", "-o"]);
    step("compile pause", rustc.arg(&made).current_dir(root().join(PAUSE)))?;
    let program = read_static(&made)?;
    if program.len() > LARGEST_PAUSE {
        let size = program.len();
        return Err(format!("pause has {size} bytes, and may have {LARGEST_PAUSE}: see {PAUSE}"));
    }
    Ok(program)
}

fn read_static(path: &Path) -> Result<Vec<u8>> {
    let program = std::fs::read(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    elf::check_static(&program).map_err(|why| format!("{} {why}", path.display()))?;
    Ok(program)
}
