//! Clients in other languages: tests of their own, which a lab has to pass.
//!
//! `cargo xtask` builds and installs them at pinned versions, into `target/clients`; sources and
//! versions are in `clients/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::Trial;

use crate::lab::{Lab, success, test};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("client_go_reads_writes_watches_and_leads", client_go),
        test("the_python_client_reads_writes_watches_and_leads", python),
    ]
}

/// The root of the tree.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs `client` against a lab with the pod `web`; it fails if one of its tests does or is skipped.
fn passes(client: &Path, arguments: &[&str]) {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&manifests::pod("web", "", "seaway/echo"));
    success(&lab.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=30s"]))
        .expect("the pod is ready");
    let mut command = Command::new(client);
    command.args(arguments).env("KUBECONFIG", lab.dir().join("kubeconfig"));
    command.env("HOME", lab.dir());
    let output = command.output();
    let output =
        output.unwrap_or_else(|e| panic!("{}: {e}: cargo xtask install", client.display()));
    let said = lab.told(&output);
    assert!(output.status.success(), "{said}");
    for skipped in ["--- SKIP", "skipped=", "Ran 0 tests", "no tests to run"] {
        assert!(!said.contains(skipped), "{said}");
    }
}

fn client_go() {
    let tests = root().join("target/clients/client-go.test");
    passes(&tests, &["-test.v", "-test.timeout=120s"]);
}

fn python() {
    let script = root().join("crates/seaway/tests/lab/clients/python/client.py");
    let python = root().join("target/clients/python/bin/python");
    passes(&python, &[&script.display().to_string()]);
}
