//! What is gathered for whoever is asked to help, read by Debian's tar.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;
use serde_json::Value;

use crate::lab::{Lab, SEAWAY, success, test};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("a_bundle_of_a_lab_has_what_its_nodes_hold_and_no_keys", of_a_lab)]
}

fn of_a_lab() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::echoes(1));
    let file = lab.dir().with_extension("tar.gz");
    let gather = |file: &Path| -> Output {
        let mut command = Command::new(SEAWAY);
        command.args(["bundle", "--lab", lab.name(), "-o", "json", "--file"]).arg(file);
        command.env("SEAWAY_LAB_DIR", lab.dir().parent().expect("the test's folder"));
        command.output().expect("start seaway bundle")
    };
    let told = success(&gather(&file)).expect("gather a bundle");
    let told: Value = serde_json::from_str(&told).expect("it is JSON");
    let again = success(&gather(&file)).expect_err("what is there is not written over");
    assert!(again.contains("File exists"), "{again}");
    let mode = std::fs::metadata(&file).expect("look at the bundle").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others can't read it");

    let tar = |args: &[&str]| {
        let output = Command::new("tar").args(args).arg(&file).output().expect("start tar");
        success(&output).expect("tar reads it")
    };
    let names = tar(&["--list", "--gzip", "--file"]);
    let files = told["files"].as_array().expect("files").iter();
    let said: Vec<&str> = files.filter_map(|file| file["path"].as_str()).collect();
    let in_it: Vec<&str> = names.lines().filter(|name| !name.ends_with("/left-out.txt")).collect();
    assert_eq!(said, in_it);
    assert!(told["leftOut"].is_array() && told["file"].as_str() == file.to_str(), "{told}");
    let has = |end: &str| names.lines().any(|name| name.ends_with(end));
    for end in [
        "/node-1/agent/plan.txt",
        "/node-2/agent/report.json",
        "/node-1/agent/metrics.txt",
        "/node-1/kernel/links.txt",
        "/node-2/kernel/ruleset.nft",
        "/node-1/cni/05-seaway.conflist",
        "/node-1/check.json",
        "/objects/services.json",
        "/logs/node-2.log",
    ] {
        assert!(has(end), "{end} is in {names}");
    }
    let text = tar(&["--extract", "--gzip", "--to-stdout", "--file"]);
    assert!(text.contains("kubernetes") && text.contains("net/ipv4/ip_forward = 1"));
    for secret in ["stable_secret", "tcp_fastopen_key", "PRIVATE KEY"] {
        assert!(!text.contains(secret), "a bundle has no {secret}");
    }
    // What this machine's kernel or system does not have; everything that the agent has is there.
    let is_left_out = |line: &&str| line.starts_with("node-") && line.contains("/agent/");
    assert_eq!(text.lines().find(is_left_out), None, "what an agent was asked for is there");
}
