//! What can be asked on a node's control socket.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::agent::Asked;
use crate::control::Answer;
use crate::enter::{ALL, Entrance};
use crate::pod::{FindError, Found, Runner};

/// A request to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A way into the node itself.
    Node,
    /// A way into a container.
    Pod(ContainerOf),
    /// Where the log of a container is.
    Log(ContainerOf),
    /// Put another agent in the place of the one that runs.
    RestartAgent,
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOf {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub pod: String,
    /// Its name; the pod's first when `None`.
    pub container: Option<String>,
}

/// An answer of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// How to enter, with the descriptors.
    Entrance(Entrance),
    /// A file, as the node sees it.
    Log(PathBuf),
    /// The pod is not on this node.
    Elsewhere,
    /// Done.
    Done,
}

/// Answers one request.
///
/// # Errors
/// What is wrong, for the person who asked.
pub(super) async fn answer(
    request: Request,
    pods: Arc<Runner>,
    another: mpsc::Sender<Asked>,
) -> Result<Answer<Reply>, String> {
    match request {
        Request::Node => enter_node().map_err(|error| format!("open the node: {error}")),
        Request::Pod(of) => match find(&pods, &of).await? {
            Some(found) => enter_container(&found, &of),
            None => Ok(Answer::plain(Reply::Elsewhere)),
        },
        Request::Log(of) => {
            let found = find(&pods, &of).await?;
            Ok(Answer::plain(found.map_or(Reply::Elsewhere, |found| Reply::Log(found.log))))
        }
        Request::RestartAgent => {
            let (asked, restarted) = oneshot::channel();
            let ends = || "the node ends".to_owned();
            another.send(asked).await.map_err(|_| ends())?;
            restarted.await.map_err(|_| ends())??;
            Ok(Answer::plain(Reply::Done))
        }
    }
}

async fn find(pods: &Runner, of: &ContainerOf) -> Result<Option<Found>, String> {
    match pods.find(&of.namespace, &of.pod, of.container.as_deref()).await {
        Ok(found) => Ok(Some(found)),
        Err(FindError::NoPod(_)) => Ok(None),
        Err(error @ (FindError::NoContainer { .. } | FindError::Ended)) => Err(error.to_string()),
    }
}

/// The node's own process is PID 1 of its PID namespace.
fn enter_node() -> io::Result<Answer<Reply>> {
    let pidfd = kernel::process::open_pidfd(1)?;
    let entrance = Entrance { namespaces: vec![ALL.bits()], ..Entrance::default() };
    Ok(Answer { body: Reply::Entrance(entrance), fds: vec![Arc::new(pidfd)] })
}

/// What is run beside a container may do what the container may do, and no more.
fn enter_container(found: &Found, of: &ContainerOf) -> Result<Answer<Reply>, String> {
    let Some((pid, pidfd)) = &found.process else {
        let ContainerOf { namespace, pod, .. } = of;
        return Err(format!(
            "container {} of pod {namespace}/{pod} is not running",
            found.container
        ));
    };
    let entrance = Entrance {
        namespaces: vec![ALL.bits()],
        env: Some(found.env.iter().cloned().collect()),
        workdir: Some(found.cwd.clone()),
        capabilities: bounding_set(*pid),
    };
    Ok(Answer { body: Reply::Entrance(entrance), fds: vec![pidfd.clone()] })
}

/// Source: proc_pid_status(5), `CapBnd`.
fn bounding_set(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}
