//! Gathers what Kubernetes says about its kinds and their fields, for `kubectl explain`.
//!
//! The sentences are the doc comments of the `k8s-openapi` crate, whose authors have them from
//! Kubernetes' own OpenAPI (Apache-2.0). They are taken from its source as cargo has it, so none
//! of them stands in this repository, and they are of the version that `Cargo.lock` names.
//!
//! Written are lines of text, packed by DEFLATE: a type's full name, a tab and its description; then
//! for each field of it a tab, its name, a tab and its description.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of Kubernetes whose descriptions are shown, as the crate names its folder.
const VERSION: &str = "v1_36";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../Cargo.lock");
    let mut text = String::new();
    for file in files(&sources().join(VERSION)) {
        let source = std::fs::read_to_string(&file).expect("read a file of k8s-openapi");
        describe(&source, &mut text);
    }
    assert!(!text.is_empty(), "k8s-openapi holds no descriptions of {VERSION}");
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    let file =
        std::fs::File::create(Path::new(&folder).join("descriptions")).expect("create a file");
    let mut packed = flate2::write::DeflateEncoder::new(file, flate2::Compression::best());
    packed.write_all(text.as_bytes()).expect("write the descriptions");
    packed.finish().expect("write the descriptions");
}

/// Where cargo has the source of `k8s-openapi`.
fn sources() -> PathBuf {
    let cargo = std::env::var("CARGO").expect("cargo sets CARGO");
    // Only what this build is for. Cargo fetches what else the lock file names for it, like the
    // dependencies of tests, before it answers.
    let target = std::env::var("TARGET").expect("cargo sets TARGET");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(target)
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("cargo metadata names packages");
    let of = packages.iter().find(|package| package["name"] == "k8s-openapi");
    let manifest = of.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.expect("k8s-openapi is a dependency"));
    manifest.parent().expect("a manifest is in a folder").join("src")
}

/// All files below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("list a folder of k8s-openapi");
    let mut entries: Vec<PathBuf> =
        entries.map(|entry| entry.expect("list a folder of k8s-openapi").path()).collect();
    entries.sort();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.into_iter().flat_map(below).collect()
}

/// Appends what a file says about the type it was generated from.
fn describe(source: &str, text: &mut String) {
    let Some(name) = source.strip_prefix("// Generated from definition ") else { return };
    let name = name.lines().next().unwrap_or_default();
    if name.contains("alpha") || name.contains("beta") {
        return; // Not served.
    }
    // The last part of the file translates names: `"apiVersion" => Field::Key_api_version,`.
    let fields: Vec<(&str, &str)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => Field::Key_"))
        .map(|(json, rust)| (json, rust.trim_end_matches(',')))
        .collect();
    let mut comment: Vec<&str> = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        let line = line.trim();
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim());
        } else if line.starts_with("pub struct ") {
            text.push_str(&format!("{name}\t{}\n", sentence(&mut comment)));
            inside = true;
        } else if let Some(field) = line.strip_prefix("pub ").filter(|_| inside) {
            let rust = field.split(':').next().unwrap_or_default().trim_start_matches("r#");
            if let Some((json, _)) = fields.iter().find(|(_, key)| *key == rust) {
                text.push_str(&format!("\t{json}\t{}\n", sentence(&mut comment)));
            }
            comment.clear();
        } else if inside && line == "}" {
            return;
        }
    }
}

/// A comment in one line; `\n` stands for the breaks in it. What rustdoc wants escaped is not.
fn sentence(comment: &mut Vec<&str>) -> String {
    let mut out = String::new();
    let text = std::mem::take(comment).join("\n");
    let mut letters = text.trim().chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\\' if letters.peek().is_some_and(char::is_ascii_punctuation) => {}
            other => out.push(other),
        }
    }
    out
}
