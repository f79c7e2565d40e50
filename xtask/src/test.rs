//! `cargo xtask test`: the ladder of tests, cheapest rung first.
//!
//! | rung | what | needs |
//! |---|---|---|
//! | lint | rustfmt, tidy, clippy, rustdoc | nothing |
//! | unit | unit, scenario and property tests of the pure crates, the API server, xtask | nothing |
//! | root | mechanisms, agent and pods against a real kernel, in namespaces of their own | root |
//! | lab | whole nodes, real packets, other people's clients | root |
//! | examples | every command of `examples/`, as written | root |

use std::path::PathBuf;
use std::process::Command;

use crate::clients::{self, Kubectl};
use crate::run::{Result, cargo, is_root, output, say, step};
use crate::{examples, image, install, tidy};

const RUNGS: [&str; 5] = ["lint", "unit", "root", "lab", "examples"];

/// Crates whose tests need no privileges.
const UNPRIVILEGED: [&str; 7] = [
    "seaway-model",
    "seaway-plan",
    "seaway-compile",
    "seaway-oracle",
    "seaway-wire",
    "seaway-apiserver",
    "xtask",
];

/// Runs the rungs named, or all.
pub(crate) fn run(rungs: &[String]) -> Result {
    if let Some(unknown) = rungs.iter().find(|r| !RUNGS.contains(&r.as_str())) {
        return Err(format!("no rung {unknown:?}; there are {}", RUNGS.join(", ")));
    }
    install::run()?;
    for rung in RUNGS {
        if rungs.is_empty() || rungs.iter().any(|r| r == rung) {
            say(&format!("═══ {rung}"));
            one(rung)?;
        }
    }
    Ok(())
}

/// All rungs, where a privileged test that can't run is a failure.
pub(crate) fn ci() -> Result {
    if !is_root() {
        return Err("ci runs privileged tests and nothing may be skipped: run it as root".into());
    }
    run(&[])
}

fn one(rung: &str) -> Result {
    match rung {
        "lint" => lint(),
        "unit" => unit(),
        "root" => root(),
        "lab" => lab(&[]),
        _ => examples::run(&[]),
    }
}

fn lint() -> Result {
    step("rustfmt", &mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    step("clippy", &mut cargo(&clippy))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    step("rustdoc", doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn unit() -> Result {
    run_tests("unit", |test| UNPRIVILEGED.contains(&test.package.as_str()), &[])
}

fn root() -> Result {
    if !is_root() {
        say("── root: IGNORED, these tests need root (CAP_NET_ADMIN, CAP_SYS_ADMIN)");
        let ci = std::env::var_os("CI").is_some();
        return if ci { Err("root tests need root".into()) } else { Ok(()) };
    }
    let unprivileged = |test: &Test| UNPRIVILEGED.contains(&test.package.as_str());
    run_tests("root", |test| !unprivileged(test) && test.target != "lab", &[])
}

/// The lab tests, or those whose name holds one of `filters`.
pub(crate) fn lab(filters: &[String]) -> Result {
    image::for_tests()?;
    run_tests("lab", |test| test.package == "seaway" && test.target == "lab", filters)
}

/// A test executable.
struct Test {
    package: String,
    target: String,
    manifest_dir: PathBuf,
    executable: PathBuf,
}

/// Builds every test of the workspace (one build with one set of features for all rungs) and runs
/// those that `wanted` picks, all of them even when one fails.
fn run_tests(title: &str, wanted: impl Fn(&Test) -> bool, filters: &[String]) -> Result {
    clients::install()?;
    let tests = build()?;
    let mut failed = Vec::new();
    for test in tests.iter().filter(|test| wanted(test)) {
        let mut command = Command::new(&test.executable);
        command.args(filters).current_dir(&test.manifest_dir).env("RUST_BACKTRACE", "1");
        command.env("CARGO_MANIFEST_DIR", &test.manifest_dir);
        command.env("PATH", clients::path_with(Kubectl::Newest));
        let name = format!("{title}: {} {}", test.package, test.target);
        failed.extend(step(&name, &mut command).err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn build() -> Result<Vec<Test>> {
    step("build", &mut cargo(&["build", "--workspace"]))?;
    step("build tests", &mut cargo(&["test", "--workspace", "--no-run"]))?;
    let json = ["test", "--workspace", "--no-run", "--quiet", "--message-format=json"];
    let built = output(&mut cargo(&json))?;
    let lines = String::from_utf8_lossy(&built.stdout);
    let mut tests: Vec<Test> = lines.lines().filter_map(test_of).collect();
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(tests)
}

/// The test executable that one line of cargo's JSON output tells of.
fn test_of(line: &str) -> Option<Test> {
    let artifact: serde_json::Value = serde_json::from_str(line).ok()?;
    if artifact["reason"] != "compiler-artifact" || artifact["profile"]["test"] != true {
        return None;
    }
    let manifest_dir = PathBuf::from(artifact["manifest_path"].as_str()?).parent()?.to_owned();
    let manifest = std::fs::read_to_string(manifest_dir.join("Cargo.toml")).ok()?;
    let package = manifest.lines().find_map(|l| l.strip_prefix("name = \""))?.trim_end_matches('"');
    Some(Test {
        package: package.to_owned(),
        target: artifact["target"]["name"].as_str()?.to_owned(),
        executable: PathBuf::from(artifact["executable"].as_str()?),
        manifest_dir,
    })
}

/// Runs or, with `--update`, rewrites the scenarios.
pub(crate) fn scenarios(args: &[String]) -> Result {
    let mut command = cargo(&["test", "--package", "seaway-compile", "--test", "scenarios"]);
    if args.iter().any(|a| a == "--update") {
        command.env("UPDATE", "1");
    }
    step("scenarios", &mut command)
}

/// Writes what is committed of `seaway install`.
pub(crate) fn deploy() -> Result {
    let filter = "what_is_committed_is_what_install_prints";
    let mut command = cargo(&["test", "--workspace", "--bin", "seaway", filter]);
    command.env("UPDATE", "1");
    step("deploy", &mut command)
}
