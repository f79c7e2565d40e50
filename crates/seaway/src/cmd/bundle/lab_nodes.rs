//! The nodes of a lab, each gathered by `seaway bundle` inside of it, and what is known beside them.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use lab::lab::{Lab, Target};
use lab::node::CNI_CONF_DIR;
use lab::spec::LabName;

use super::{Gathered, objects};

/// Every node of a lab, its objects and its logs.
pub(super) fn lab(name: &LabName, timeout: u64) -> anyhow::Result<Gathered> {
    let lab = Lab::open(name)?;
    let mut all = Gathered::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nodes = runtime.block_on(async {
        let client = kube::connect(&kube::Access::Kubeconfig(lab.kubeconfig())).await?;
        anyhow::Ok(objects::gather(&client, &mut all).await)
    })?;
    all.put("logs/lab.log", fs::read(lab.directory().supervisor_log()));
    for node in nodes {
        let log = lab.directory().node(&node).agent_log();
        all.put(format!("logs/{node}.log"), fs::read(log));
        match of_node(&lab, &node, timeout) {
            Ok(gathered) => all.put_below(&node, gathered),
            Err(error) => all.missing.push(format!("{node}: {error:#}")),
        }
    }
    Ok(all)
}

fn of_node(lab: &Lab, node: &str, timeout: u64) -> anyhow::Result<Gathered> {
    let inside = lab.enter(&Target::Node(node.to_owned())).context("enter the node")?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["bundle", "--file", "-", "--cni-conf-dir", CNI_CONF_DIR]);
    command.args(["--timeout", &timeout.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = inside.spawn(&mut command).context("start seaway bundle there")?;
    let output = child.wait_with_output().context("wait for seaway bundle there")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "seaway bundle there: {}", said.trim_end());
    Gathered::read(&output.stdout).context("read the bundle of the node")
}
