//! The cluster that a command is about, and what its nodes answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::question::{self, Answer, Question};
use kube::{Access, Client};
use kube_rs::api::ListParams;
use kube_rs::{Api, ResourceExt};
use lab::lab::Lab;
use lab::spec::LabName;
use tokio::time::{interval, sleep};

/// How often the question is asked again, should somebody else have asked another one since.
const AGAIN: Duration = Duration::from_secs(1);

/// Which cluster.
#[derive(clap::Args)]
pub(super) struct Cluster {
    /// How to reach the API server; $KUBECONFIG or ~/.kube/config when left out.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// This lab, and no other cluster.
    #[arg(long, value_name = "NAME", conflicts_with = "kubeconfig")]
    lab: Option<LabName>,
}

/// How to print what was found.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    #[value(alias = "table")]
    Text,
    Json,
}

impl Cluster {
    /// The one that a kubeconfig is for, or the usual one.
    pub(super) fn of(kubeconfig: Option<PathBuf>) -> Self {
        Cluster { kubeconfig, lab: None }
    }

    /// A client of its API server.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        let path = match (&self.lab, &self.kubeconfig) {
            (Some(lab), _) => Lab::open(lab)?.kubeconfig(),
            (None, Some(path)) => path.clone(),
            (None, None) => usual()?,
        };
        Ok(kube::connect(&Access::Kubeconfig(path)).await?)
    }
}

/// The kubeconfig that kubectl would take.
fn usual() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG").filter(|paths| !paths.is_empty());
    if let Some(paths) = named {
        let mut paths = std::env::split_paths(&paths);
        let first = paths.next().context("KUBECONFIG names no file")?;
        if paths.next().is_some() {
            bail!("KUBECONFIG names several files: say one with --kubeconfig");
        }
        return Ok(first);
    }
    let home = std::env::var_os("HOME").context("no --kubeconfig, no KUBECONFIG and no HOME")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Every Node, by name.
pub(super) async fn nodes(client: &Client) -> anyhow::Result<BTreeMap<String, Node>> {
    let listed = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let listed = listed.context("list nodes")?;
    Ok(listed.items.into_iter().map(|node| (node.name_any(), node)).collect())
}

/// Asks every one of `nodes` and waits for `patience`, or until each has put everything in place. Gives what each
/// has answered last.
pub(super) async fn ask_all(
    client: &Client,
    until: BTreeMap<String, u64>,
    nodes: &BTreeMap<String, Node>,
    patience: Duration,
) -> anyhow::Result<BTreeMap<String, Answer>> {
    let id = format!("{}-{}", std::process::id(), question::now().as_nanos());
    let question = Question { id, until };
    let mut answers = pin!(question::answers(client));
    let (mut asking, mut end) = (interval(AGAIN), pin!(sleep(patience)));
    let (mut asked, mut heard) = (None, BTreeMap::new());
    let is_done = |heard: &BTreeMap<String, Answer>| {
        nodes.keys().all(|node| heard.get(node).is_some_and(|heard| heard.failures.is_empty()))
    };
    while asked.is_none() || !is_done(&heard) {
        tokio::select! {
            _ = asking.tick() => {
                let version = question::ask(client, &question).await;
                asked = Some(version.context("ask the nodes by a Lease")?);
            }
            next = answers.next() => {
                let Some(answer) = next else { break };
                let (node, answer) = answer.context("watch the answers")?;
                if answer.question == question.id && nodes.contains_key(node.as_str()) {
                    heard.insert(node.as_str().to_owned(), answer);
                }
            }
            () = &mut end => break,
        }
    }
    if let Some(version) = asked {
        question::withdraw(client, version).await.context("take the question back")?;
    }
    Ok(heard)
}
