//! `cargo xtask demo`: a three-node lab with pods, checked, from a real manifest.

use crate::install;
use crate::run::{Result, cargo, command, say, step};

const BINARY: &str = "target/release/seaway";
const NAME: &str = "demo";

/// Installs, builds, brings up the lab and checks it. A demo that is up already is taken down first.
pub(crate) fn run() -> Result {
    install::run()?;
    step("build", &mut cargo(&["build", "--release", "--package", "seaway"]))?;
    let binary = crate::run::root().join(BINARY);
    let seaway = binary.to_string_lossy();
    let up = ["lab", "up", "--name", NAME, "--nodes", "3", "-f", "examples/hello.yaml"];
    let listed = crate::run::output(&mut command(&seaway, &["lab", "list"]))?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|l| l.starts_with(NAME)) {
        step("take the old demo down", &mut command(&seaway, &["lab", "down", "--name", NAME]))?;
    }
    step("lab up", &mut command(&seaway, &up))?;
    step("check", &mut command(&seaway, &["check", "--name", NAME]))?;
    say(&format!(
        "
The lab {NAME:?} is up. Look inside:
  {BINARY} lab status --name {NAME}
  export KUBECONFIG=$({BINARY} lab kubeconfig --name {NAME}); kubectl get pods -A -o wide
  {BINARY} lab exec --name {NAME} -n hello shell -- ip address
  {BINARY} lab node --name {NAME} node-1 -- seaway dump routes
  {BINARY} lab client --name {NAME} -- ip route
Take it down:
  {BINARY} lab down --name {NAME}"
    ));
    Ok(())
}
