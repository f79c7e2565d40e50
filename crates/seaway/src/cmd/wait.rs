//! `seaway wait`: until every node has put in place what an object says.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Client, question};
use serde_json::{Value, json};

use super::cluster::{self, Cluster, Output};
use super::{print, talk};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The object whose present version every node should have put in place, as KIND/NAME: a service (with its
    /// EndpointSlices), endpointslice, networkpolicy, clusternetworkpolicy, pod, namespace, node or servicecidr, or
    /// what kubectl calls these for short.
    #[arg(long, value_name = "KIND/NAME")]
    change: String,
    /// Namespace of the object.
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How long to wait, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    timeout: u64,
    /// Form of the output: text or json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    #[command(flatten)]
    cluster: Cluster,
}

/// A kind that nodes follow: its names, where it is, whether objects are in namespaces.
struct Kind {
    names: &'static [&'static str],
    plural: &'static str,
    api: &'static str,
    is_namespaced: bool,
}

const KINDS: [Kind; 10] = [
    kind(&["service", "svc"], "services", "api/v1", true),
    kind(&["endpointslice"], "endpointslices", "apis/discovery.k8s.io/v1", true),
    kind(&["networkpolicy", "netpol"], "networkpolicies", "apis/networking.k8s.io/v1", true),
    kind(
        &["clusternetworkpolicy", "cnp"],
        "clusternetworkpolicies",
        "apis/policy.networking.k8s.io/v1alpha2",
        false,
    ),
    kind(
        &["adminnetworkpolicy", "anp"],
        "adminnetworkpolicies",
        "apis/policy.networking.k8s.io/v1alpha1",
        false,
    ),
    kind(
        &["baselineadminnetworkpolicy", "banp"],
        "baselineadminnetworkpolicies",
        "apis/policy.networking.k8s.io/v1alpha1",
        false,
    ),
    kind(&["pod", "po"], "pods", "api/v1", true),
    kind(&["namespace", "ns"], "namespaces", "api/v1", false),
    kind(&["node", "no"], "nodes", "api/v1", false),
    kind(&["servicecidr"], "servicecidrs", "apis/networking.k8s.io/v1", false),
];

const fn kind(
    names: &'static [&'static str],
    plural: &'static str,
    api: &'static str,
    is_namespaced: bool,
) -> Kind {
    Kind { names, plural, api, is_namespaced }
}

impl Kind {
    fn of(word: &str) -> anyhow::Result<&'static Kind> {
        let word = word.to_lowercase();
        let is_it = |kind: &&Kind| kind.plural == word || kind.names.contains(&word.as_str());
        KINDS.iter().find(is_it).with_context(|| {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.names[0]).collect();
            format!(
                "--change: nodes don't follow objects of kind {word:?}; they do {}",
                known.join(", ")
            )
        })
    }

    fn path(&self, namespace: &str, rest: &str) -> String {
        match self.is_namespaced {
            true => format!("/{}/namespaces/{namespace}/{}{rest}", self.api, self.plural),
            false => format!("/{}/{}{rest}", self.api, self.plural),
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(wait(args))
}

async fn wait(args: &Args) -> anyhow::Result<ExitCode> {
    let Some((word, name)) = args.change.split_once('/') else {
        bail!("--change {:?}: KIND/NAME, like service/web", args.change);
    };
    let kind = Kind::of(word)?;
    let client = args.cluster.client().await?;
    let until = versions(&client, kind, &args.namespace, name).await?;
    let nodes = cluster::nodes(&client).await?;
    let (start, patience) = (question::now(), Duration::from_secs(args.timeout));
    let heard = cluster::ask_all(&client, until.clone(), &nodes, patience).await?;
    let rows: Vec<Value> = nodes
        .keys()
        .map(|node| {
            let answer = heard.get(node);
            let is_done = answer.is_some_and(|answer| answer.failures.is_empty());
            // A node's clock may be behind ours.
            let after = answer.map(|answer| answer.at.saturating_sub(start).as_secs_f64());
            json!({
                "node": node,
                "realised": is_done,
                "seconds": after.filter(|_| is_done),
                "failures": answer.map(|answer| &answer.failures),
            })
        })
        .collect();
    let late: Vec<&Value> = rows.iter().filter(|row| row["realised"] != true).collect();
    match args.output {
        Output::Json => {
            let all = json!({ "change": args.change, "revisions": until, "nodes": rows });
            print(&format!("{all:#}\n"));
        }
        Output::Text => rows.iter().for_each(|row| print(&line(row))),
    }
    if late.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let (late, all) = (late.len(), rows.len());
    talk(&format!(
        "seaway: {late} of {all} nodes have not put {} in place within {} s",
        args.change, args.timeout
    ));
    Ok(ExitCode::FAILURE)
}

fn line(row: &Value) -> String {
    let node = row["node"].as_str().unwrap_or_default();
    let failures: Vec<&str> =
        row["failures"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match row["seconds"].as_f64() {
        Some(seconds) => format!("{node} in place after {seconds:.3} s\n"),
        None if row["failures"].is_null() => format!("{node} has not answered\n"),
        None => format!("{node} FAILED: {}\n", failures.join("; ")),
    }
}

/// What nodes are to have heard of: the version of the object, and of a Service's slices the newest.
async fn versions(
    client: &Client,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> anyhow::Result<BTreeMap<String, u64>> {
    let object = get(client, &kind.path(namespace, &format!("/{name}"))).await?;
    let mut versions: BTreeMap<String, u64> = [(kind.plural.to_owned(), version(&object)?)].into();
    if kind.plural == "services" {
        let slices = Kind::of("endpointslice")?;
        let query = format!("?labelSelector=kubernetes.io/service-name%3D{name}");
        let list = get(client, &slices.path(namespace, &query)).await?;
        let all = list["items"].as_array().into_iter().flatten().map(version);
        let newest = all.collect::<anyhow::Result<Vec<u64>>>()?.into_iter().max();
        versions.extend(newest.map(|newest| (slices.plural.to_owned(), newest)));
    }
    Ok(versions)
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let request = http::Request::get(path).body(Vec::new())?;
    client.request(request).await.with_context(|| format!("get {path}"))
}

fn version(object: &Value) -> anyhow::Result<u64> {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    version.parse().with_context(|| format!("resourceVersion {version:?} is no number (KEP-5504)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_the_names_that_kubectl_knows() {
        for (word, path) in [
            ("svc", "/api/v1/namespaces/ns/services/x"),
            ("NetworkPolicy", "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/x"),
            ("cnp", "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies/x"),
            ("nodes", "/api/v1/nodes/x"),
        ] {
            assert_eq!(Kind::of(word).unwrap().path("ns", "/x"), path);
        }
        let wrong = Kind::of("deployment").err().unwrap().to_string();
        assert!(wrong.contains("\"deployment\"") && wrong.contains("service, "), "{wrong}");
    }

    #[test]
    fn a_node_is_in_place_has_failed_or_is_silent() {
        let row = |seconds: Value, failures: Value| {
            line(&json!({ "node": "a", "seconds": seconds, "failures": failures }))
        };
        assert_eq!(row(json!(0.0124), json!([])), "a in place after 0.012 s\n");
        assert_eq!(row(Value::Null, json!(["x", "y"])), "a FAILED: x; y\n");
        assert_eq!(row(Value::Null, Value::Null), "a has not answered\n");
    }
}
