//! `seaway lab status`.

use std::process::ExitCode;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Access;
use kube_rs::api::ListParams;
use kube_rs::{Api, ResourceExt};
use lab::lab::Lab;
use lab::plane::node_lifecycle::is_ready;
use serde_json::{Value, json};

use super::print;
use crate::cmd::cluster::Output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Form of the output: text or json.
    #[arg(short, long, default_value = "text")]
    output: Output,
}

pub(super) fn run(lab: &Lab, args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (nodes, pods) = runtime.block_on(async {
        let client = kube::connect(&Access::Kubeconfig(lab.kubeconfig())).await?;
        let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
        let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?;
        anyhow::Ok((nodes.items, pods.items))
    })?;
    let nodes: Vec<_> = nodes.iter().map(node).collect();
    let pods: Vec<_> = pods.iter().map(pod).collect();
    match args.output {
        Output::Json => {
            let all = json!({
                "name": lab.name().as_str(),
                "kubeconfig": lab.kubeconfig(),
                "directory": lab.directory().path(),
                "nodes": nodes,
                "pods": pods,
            });
            print(&format!("{}\n", serde_json::to_string_pretty(&all)?));
        }
        Output::Text => {
            let heads = ["NODE", "READY", "ADDRESSES", "POD CIDRS"];
            print(&table(&heads, &nodes, &["name", "ready", "addresses", "podCIDRs"]));
            let heads = ["NAMESPACE", "POD", "STATUS", "READY", "NODE", "ADDRESSES"];
            let fields = ["namespace", "name", "phase", "ready", "node", "addresses"];
            print("\n");
            print(&table(&heads, &pods, &fields));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn node(node: &Node) -> Value {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
    let internal = addresses.filter(|address| address.type_ == "InternalIP");
    let cidrs = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
    json!({
        "name": node.name_any(),
        "ready": is_ready(node),
        "addresses": internal.map(|address| &address.address).collect::<Vec<_>>(),
        "podCIDRs": cidrs,
    })
}

fn pod(pod: &Pod) -> Value {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let is_ready = |kind: &str, status: &str| kind == "Ready" && status == "True";
    let ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    json!({
        "namespace": pod.namespace(),
        "name": pod.name_any(),
        "phase": status.and_then(|status| status.phase.as_ref()),
        "ready": conditions.into_iter().any(|it| is_ready(&it.type_, &it.status)),
        "node": pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()),
        "addresses": ips.map(|ip| &ip.ip).collect::<Vec<_>>(),
    })
}

/// Columns as wide as their widest cell, as kubectl prints them.
fn table(heads: &[&str], rows: &[Value], fields: &[&str]) -> String {
    let cell = |row: &Value, field: &&str| match &row[*field] {
        Value::Array(parts) => parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => row[*field].to_string(),
    };
    let mut lines = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| fields.iter().map(|field| cell(row, field)).collect()));
    let widths: Vec<_> = (0..heads.len())
        .map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [json!({ "a": "x", "b": ["1", "2"] }), json!({ "a": "long", "c": true })];
        assert_eq!(table(&["A", "B"], &rows, &["a", "b"]), "A      B\nx      1,2\nlong   -\n");
    }
}
