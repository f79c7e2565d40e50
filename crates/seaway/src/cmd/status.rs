//! `seaway status`: how the network of a cluster is, on one screen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::question::Answer;
use kube_rs::Api;
use serde_json::{Value, json};

use super::cluster::{self, Cluster, Output};
use super::print;

/// Kinds of policies that say in their conditions whether they are in place, and where they are.
const POLICIES: [(&str, &str); 3] = [
    ("ClusterNetworkPolicy", "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"),
    ("AdminNetworkPolicy", "/apis/policy.networking.k8s.io/v1alpha1/adminnetworkpolicies"),
    (
        "BaselineAdminNetworkPolicy",
        "/apis/policy.networking.k8s.io/v1alpha1/baselineadminnetworkpolicies",
    ),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to wait for the nodes' answers, in seconds.
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    timeout: u64,
    /// Form of the output: text or json.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    #[command(flatten)]
    cluster: Cluster,
}

/// A node and what is wrong with it.
#[derive(Debug)]
struct Row {
    name: String,
    version: Option<String>,
    state: &'static str,
    pod_cidrs: Vec<String>,
    red: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(status(args))
}

async fn status(args: &Args) -> anyhow::Result<ExitCode> {
    let client = args.cluster.client().await?;
    let nodes = cluster::nodes(&client).await?;
    let patience = Duration::from_secs(args.timeout);
    let heard = cluster::ask_all(&client, BTreeMap::new(), &nodes, patience).await?;
    let rows: Vec<Row> =
        nodes.iter().map(|(name, node)| row(name, node, heard.get(name), args.timeout)).collect();
    let network = network(&heard);
    let red = policies(&client).await;
    let leader = leader(&client).await;
    print(&match args.output {
        Output::Json => format!("{:#}\n", document(&rows, &network, &red, leader.as_deref())),
        Output::Text => text(&rows, &network, &red, leader.as_deref()),
    });
    let is_green = rows.iter().all(|row| row.red.is_empty()) && red.is_empty();
    Ok(if is_green { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn row(name: &str, node: &Node, answer: Option<&Answer>, timeout: u64) -> Row {
    let mut red = Vec::new();
    let state = match answer {
        None => {
            red.push(format!("no answer within {timeout} s: does its agent run?"));
            "NO ANSWER"
        }
        Some(answer) => {
            red.extend(answer.not_ready.iter().map(|why| format!("not ready: {why}")));
            red.extend(answer.failures.iter().cloned());
            if red.is_empty() { "up to date" } else { "FAILED" }
        }
    };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let bad = conditions.into_iter().flatten().filter(|condition| {
        ["NetworkUnavailable", "NetworkPressure"].contains(&&*condition.type_)
            && condition.status == "True"
    });
    red.extend(bad.map(|condition| {
        format!("{}: {}", condition.type_, condition.message.as_deref().unwrap_or_default())
    }));
    let spec = node.spec.clone().unwrap_or_default();
    let pod_cidrs = spec.pod_cidrs.unwrap_or_default();
    let version = answer.map(|answer| answer.version.clone());
    Row { name: name.to_owned(), version, state, pod_cidrs, red }
}

/// What nodes say of the network: one value where all agree.
fn network(heard: &BTreeMap<String, Answer>) -> BTreeMap<String, String> {
    let mut all: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (name, fact) in heard.values().flat_map(|answer| &answer.facts) {
        all.entry(name).or_default().insert(fact);
    }
    let agreed = |facts: &BTreeSet<&String>| {
        facts.iter().map(|fact| fact.as_str()).collect::<Vec<_>>().join(" or ")
    };
    all.into_iter().map(|(name, facts)| (name.clone(), agreed(&facts))).collect()
}

/// Policies of the cluster that are not in place, and why.
async fn policies(client: &Client) -> Vec<String> {
    let mut red = Vec::new();
    for (kind, path) in POLICIES {
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { continue };
        // Most clusters don't have all of these kinds.
        let Ok(list) = client.request::<Value>(request).await else { continue };
        let items = list["items"].as_array().into_iter().flatten();
        red.extend(items.flat_map(|policy| unmet(kind, policy)));
    }
    red
}

fn unmet(kind: &str, policy: &Value) -> Vec<String> {
    let name = policy["metadata"]["name"].as_str().unwrap_or_default();
    let conditions = policy["status"]["conditions"].as_array().into_iter().flatten();
    let bad = conditions.filter(|condition| {
        ["Accepted", "Programmed"].iter().any(|known| condition["type"] == *known)
            && condition["status"] == "False"
    });
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    bad.map(|bad| {
        format!(
            "{kind} {name}: not {}: {}",
            word(&bad["type"]).to_lowercase(),
            word(&bad["message"])
        )
    })
    .collect()
}

async fn leader(client: &Client) -> Option<String> {
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-system");
    let holder = leases.get_opt("seaway").await.ok()??.spec?.holder_identity?;
    // NODE_RANDOM, or nobody.
    holder.rsplit_once('_').map(|(node, _)| node.to_owned()).filter(|node| !node.is_empty())
}

fn document(
    rows: &[Row],
    network: &BTreeMap<String, String>,
    red: &[String],
    leader: Option<&str>,
) -> Value {
    let node = |row: &Row| {
        json!({
            "name": row.name,
            "version": row.version,
            "state": row.state,
            "podCIDRs": row.pod_cidrs,
            "red": row.red,
        })
    };
    json!({
        "nodes": rows.iter().map(node).collect::<Vec<_>>(),
        "network": network,
        "policies": red,
        "leader": leader,
    })
}

fn text(
    rows: &[Row],
    network: &BTreeMap<String, String>,
    red: &[String],
    leader: Option<&str>,
) -> String {
    let name = rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max("NODE".len());
    let mut text = format!("{:name$}  {:<8}  {:<10}  POD CIDRS\n", "NODE", "AGENT", "STATE");
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    for row in rows {
        let version = row.version.as_deref().unwrap_or("-");
        let cidrs = row.pod_cidrs.join(",");
        line(format_args!("{:name$}  {version:<8}  {:<10}  {cidrs}", row.name, row.state));
    }
    let reds = rows.iter().flat_map(|row| row.red.iter().map(|red| format!("{}: {red}", row.name)));
    for red in reds.chain(red.iter().cloned()) {
        line(format_args!("FAILED  {red}"));
    }
    let facts: Vec<String> = network.iter().map(|(name, fact)| format!("{name} {fact}")).collect();
    line(format_args!("network: {}", facts.join(", ")));
    let good = rows.iter().filter(|row| row.red.is_empty()).count();
    let leader = leader.map(|leader| format!(", led by {leader}")).unwrap_or_default();
    line(format_args!("{good} of {} nodes are up to date{leader}", rows.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(failures: &[&str], mtu: &str) -> Answer {
        Answer {
            question: "q".to_owned(),
            version: "0.1.0".to_owned(),
            at: Duration::ZERO,
            not_ready: None,
            failures: failures.iter().map(|failure| (*failure).to_owned()).collect(),
            facts: [("mtu".to_owned(), mtu.to_owned())].into(),
        }
    }

    #[test]
    fn what_is_red_is_said_with_its_node() {
        let heard: BTreeMap<String, Answer> = [
            ("a".to_owned(), answer(&[], "1450")),
            ("b".to_owned(), answer(&["links: no room"], "1500")),
        ]
        .into();
        let node = Node::default();
        let rows = ["a", "b", "c"].map(|name| row(name, &node, heard.get(name), 5));
        let policies = unmet(
            "ClusterNetworkPolicy",
            &json!({ "metadata": { "name": "p" }, "status": { "conditions": [
                { "type": "Accepted", "status": "False", "message": "no such action" },
                { "type": "Programmed", "status": "True", "message": "" },
                { "type": "Theirs", "status": "False", "message": "" },
            ] } }),
        );
        let text = text(&rows, &network(&heard), &policies, Some("a"));
        assert_eq!(
            text,
            "NODE  AGENT     STATE       POD CIDRS\n\
             a     0.1.0     up to date  \n\
             b     0.1.0     FAILED      \n\
             c     -         NO ANSWER   \n\
             FAILED  b: links: no room\n\
             FAILED  c: no answer within 5 s: does its agent run?\n\
             FAILED  ClusterNetworkPolicy p: not accepted: no such action\n\
             network: mtu 1450 or 1500\n\
             1 of 3 nodes are up to date, led by a\n"
        );
    }
}
