//! `seaway policy check`: what manifests would change.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{bail, ensure};
use compile::policy::{Change, Changes, Reason};
use lab::manifest::Problem;
use model::{ClusterPolicyKind, ClusterPolicyName, DropReason, ObjectName, World};
use serde_json::{Value, json};

use super::super::{print, talk};
use super::flows::{Cut, cut};
use super::objects::Wrong;
use super::{Judged, NAMESPACE, Output, Source, matrix};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Manifest of policies, and of namespaces or pods with other labels: a file, a directory of them, or - for
    /// standard input. Several are fine.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
    /// A policy that would be deleted, as networkpolicy/NAMESPACE/NAME or clusternetworkpolicy/NAME. Several are
    /// fine.
    #[arg(long, value_name = "KIND/NAME")]
    delete: Vec<Name>,
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = NAMESPACE)]
    namespace: String,
    /// How to print it.
    #[arg(short, long, default_value = "text", value_enum)]
    output: Output,
    #[command(flatten)]
    source: Source,
}

/// A policy by its kind and name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Namespaced(ObjectName),
    Cluster(ClusterPolicyName),
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "networkpolicy/NAMESPACE/NAME or clusternetworkpolicy/NAME";
        let parts: Vec<&str> = text.split('/').collect();
        let cluster =
            |kind, name: &str| Ok(Name::Cluster(ClusterPolicyName { name: name.into(), kind }));
        let kind = parts[0].to_ascii_lowercase();
        match (kind.as_str(), &parts[1..]) {
            ("networkpolicy" | "netpol", [namespace, name]) => {
                Ok(Name::Namespaced(ObjectName::new(namespace, name)))
            }
            ("clusternetworkpolicy" | "cnp", [name]) => {
                cluster(ClusterPolicyKind::ClusterNetworkPolicy, name)
            }
            ("adminnetworkpolicy" | "anp", [name]) => {
                cluster(ClusterPolicyKind::AdminNetworkPolicy, name)
            }
            ("baselineadminnetworkpolicy" | "banp", [name]) => {
                cluster(ClusterPolicyKind::BaselineAdminNetworkPolicy, name)
            }
            _ => Err(format!("a policy, as {wanted}")),
        }
    }
}

/// 0 when nothing changes, 1 when something does, 2 when that can't be told.
pub(super) fn run(args: &Args) -> ExitCode {
    match compared(args) {
        Ok(compared) => {
            print(&match args.output {
                Output::Text => text(&compared),
                Output::Json => format!("{:#}\n", document(&compared)),
            });
            if compared.is_equal() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            talk(&format!("seaway: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// What would change.
struct Compared {
    changes: Changes,
    /// Of the flows of this node; `None` when no node was asked.
    cut: Option<Vec<Cut>>,
}

impl Compared {
    fn is_equal(&self) -> bool {
        self.changes.all.is_empty() && self.cut.as_ref().is_none_or(Vec::is_empty)
    }
}

fn compared(args: &Args) -> anyhow::Result<Compared> {
    ensure!(
        !args.files.is_empty() || !args.delete.is_empty(),
        "nothing to check: name manifests with -f, or policies with --delete"
    );
    let mut objects = args.source.read()?;
    let before = Judged::new(objects.world.clone(), objects.learned.clone());
    let Wrong { unread, closed } = objects.put_files(&args.files, &args.namespace);
    objects.tell();
    let problems: Vec<Problem> = unread.into_iter().chain(closed).collect();
    if !problems.is_empty() {
        problems.iter().for_each(|problem| talk(&problem.to_string()));
        bail!("{} of the objects can't be read; nothing was compared", problems.len());
    }
    args.delete.iter().try_for_each(|name| delete(&mut objects.world, name))?;
    let after = Judged::new(objects.world, objects.learned);
    let new = after.world.pods.keys().filter(|name| !before.world.pods.contains_key(*name)).count();
    if new > 0 {
        talk(&format!("{new} pods are new, so there is nothing to compare them with"));
    }
    let everywhere: BTreeSet<Arc<str>> = BTreeSet::new();
    let changes = Changes::between(&before.judge(), &after.judge(), &everywhere);
    let is_live = args.source.offline.is_empty();
    let cut = is_live.then(|| cut(&before, &after)).transpose()?;
    Ok(Compared { changes, cut })
}

fn delete(world: &mut World, name: &Name) -> anyhow::Result<()> {
    match name {
        Name::Namespaced(name) => {
            ensure!(world.policies.remove(name).is_some(), "there is no NetworkPolicy {name}");
        }
        Name::Cluster(name) => {
            ensure!(world.cluster_policies.remove(name).is_some(), "there is no {name}");
        }
    }
    Ok(())
}

fn word(is_allowed: bool) -> &'static str {
    if is_allowed { "allowed" } else { "dropped" }
}

fn text(Compared { changes, cut }: &Compared) -> String {
    let mut text = String::new();
    for Change { from, to, only, ports, before, after } in &changes.all {
        let [from, to] = [from, to].map(|end| &changes.ends[*end]);
        let family = only.map(|family| format!(" over {family} alone")).unwrap_or_default();
        let was = word(before.is_allowed);
        let is = word(after.is_allowed);
        line(&mut text, format_args!("{from} -> {to} {ports}{family}: {was} -> {is}"));
        for (when, Reason { direction, by, .. }) in [("before", before), ("after ", after)] {
            line(&mut text, format_args!("  {when} {direction}: {by}"));
        }
    }
    let changed: BTreeSet<usize> = changes.all.iter().flat_map(|c| [c.from, c.to]).collect();
    let several = changed.iter().filter_map(|number| {
        let end = &changes.ends[*number];
        Some((end, matrix::several(end)?))
    });
    for (end, all) in several {
        line(&mut text, format_args!("{end}: {all}"));
    }
    if let Some(cut) = cut {
        flows(&mut text, cut);
    }
    match changes.all.len() {
        0 => line(&mut text, format_args!("nothing changes")),
        count => line(&mut text, format_args!("changes: {count}")),
    }
    text
}

/// The flows that would be cut.
fn flows(text: &mut String, cut: &[Cut]) {
    line(text, format_args!("flows of this node that would be cut: {}", cut.len()));
    for Cut { protocol, from, to, connection, after } in cut {
        let (client, server) = (&connection.client, &connection.server);
        let (direction, verdict) = after.decisive();
        line(text, format_args!("  {protocol} {from} -> {to} {client} -> {server}"));
        line(text, format_args!("    {direction}: {}", verdict.by));
    }
}

fn document(Compared { changes, cut }: &Compared) -> Value {
    let reason = |reason: &Reason| {
        json!({
            "allowed": reason.is_allowed,
            "direction": reason.direction.to_string(),
            "by": reason.by.to_string(),
        })
    };
    let change = |change: &Change| {
        json!({
            "from": matrix::end(&changes.ends[change.from]),
            "to": matrix::end(&changes.ends[change.to]),
            "onlyFamily": change.only.map(|family| family.to_string()),
            "ports": matrix::ports(&change.ports),
            "before": reason(&change.before),
            "after": reason(&change.after),
        })
    };
    let flow = |Cut { protocol, from, to, connection, after }: &Cut| {
        let (direction, verdict) = after.decisive();
        json!({
            "protocol": protocol.to_string(),
            "from": { "who": connection.client.to_string(), "address": from },
            "to": { "who": connection.server.to_string(), "address": to },
            "direction": direction.to_string(),
            "dropReason": verdict.dropped().map(DropReason::name),
            "by": verdict.by.to_string(),
        })
    };
    json!({
        "changes": changes.all.iter().map(change).collect::<Vec<_>>(),
        "cutFlows": cut.as_ref().map(|cut| cut.iter().map(flow).collect::<Vec<_>>()),
    })
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a String takes any text");
}
