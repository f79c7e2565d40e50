//! What can be asked on the supervisor's control socket.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use super::nodes::Nodes;
use crate::control::Answer;
use crate::enter::Entrance;
use crate::fault::{CableState, Impairment};
use crate::topology::Place;

/// A request to the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A way into a host that is not a node.
    Enter(Outside),
    /// Start a node: this one, or the next.
    Join(Option<String>),
    /// Take this node out.
    Leave(String),
    /// Do something to a node or a cable that nobody wants to happen, or mend it.
    Fault(Fault),
    /// Every cable and what is wrong with it.
    Cables,
}

/// What can be done to a node or a cable, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Cut the power of this node.
    Kill(String),
    /// Freeze this node.
    Pause(String),
    /// Have this node go on.
    Resume(String),
    /// Pull this cable out.
    Cut(String),
    /// Have this cable lose and delay.
    Impair(String, Impairment),
    /// Make this cable whole; all of them when `None`.
    Heal(Option<String>),
}

/// A host of the lab that is not a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outside {
    /// The host that uses the cluster.
    Client,
    /// The host that the cluster uses.
    Internet,
    /// The router.
    Router,
    /// The switch, where every cable of a node ends.
    Switch,
}

/// An answer of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joined {
    /// How to enter, with the descriptors.
    Entrance(Entrance),
    /// The name of the node that was started.
    Node(String),
    /// Every cable.
    Cables(Vec<CableState>),
    /// Done.
    Done,
}

/// Answers one request.
///
/// # Errors
/// What is wrong, for the person who asked.
pub(super) async fn answer(request: Request, nodes: Arc<Nodes>) -> Result<Answer<Joined>, String> {
    match request {
        Request::Enter(outside) => enter(outside, &nodes).await,
        Request::Join(name) => Ok(Answer::plain(Joined::Node(nodes.join(name.as_deref()).await?))),
        Request::Leave(name) => {
            nodes.leave(&name).await?;
            Ok(Answer::plain(Joined::Done))
        }
        Request::Fault(fault) => {
            nodes.inflict(fault).await?;
            Ok(Answer::plain(Joined::Done))
        }
        Request::Cables => Ok(Answer::plain(Joined::Cables(nodes.cables().await))),
    }
}

/// A command on such a host is a process of the lab: it ends with it.
async fn enter(outside: Outside, nodes: &Nodes) -> Result<Answer<Joined>, String> {
    let place = match outside {
        Outside::Client => Place::Client,
        Outside::Internet => Place::Internet,
        Outside::Router => Place::Router,
        Outside::Switch => Place::Switch,
    };
    let failed = |error: &dyn std::fmt::Display| format!("open {place}: {error}");
    let own = kernel::process::open_pidfd(1).map_err(|error| failed(&error))?;
    let (netns, uts) = nodes
        .with_underlay(|underlay| {
            let host = underlay.host(place).map_err(|error| failed(&error))?;
            let netns =
                host.netns().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
            Ok::<_, String>((netns, host.uts().clone()))
        })
        .await?;
    let namespaces = [
        CloneFlags::CLONE_NEWNET,
        CloneFlags::CLONE_NEWUTS,
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS,
    ];
    let entrance = Entrance {
        namespaces: namespaces.iter().map(CloneFlags::bits).collect(),
        ..Entrance::default()
    };
    let fds = vec![Arc::new(netns), uts, Arc::new(own)];
    Ok(Answer { body: Joined::Entrance(entrance), fds })
}
