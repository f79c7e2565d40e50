//! Whether the node's network is ready for pods, asked as a container runtime asks: there is a CNI
//! configuration, and its plugins answer STATUS.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch::Sender;

use super::context::Context;
use super::registration::Readiness;
use crate::pod::Runner;

/// How often it is looked at while everybody waits for the first time, and later (containerd: on every
/// change of the folder; the kubelet: 5 s).
const FIRST: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(2);

/// Looks again and again and shows the newest answer in `out`, until nobody listens.
pub(super) async fn watch(context: &Context, pods: &Runner, out: Sender<Readiness>) {
    loop {
        let readiness = look(context, pods).await;
        let pause = if readiness.is_ok() { LATER } else { FIRST };
        out.send_if_modified(|shown| {
            let changed = *shown != readiness;
            *shown = readiness;
            changed
        });
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = out.closed() => return,
        }
    }
}

/// A folder is looked at for nothing; a plugin is a process, so it is asked only once it can answer.
async fn look(context: &Context, pods: &Runner) -> Readiness {
    if !has_configuration(&context.cni_conf_dir) {
        return Err("cni plugin not initialized".to_owned());
    }
    pods.network().await.map_err(|error| model::chain(&error))
}

/// Source: libcni `ConfFiles`, the endings it looks for.
fn has_configuration(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let ends_right = |path: &Path| {
        path.extension()
            .is_some_and(|ending| ["conf", "conflist", "json"].iter().any(|known| ending == *known))
    };
    entries.flatten().any(|entry| ends_right(&entry.path()))
}
