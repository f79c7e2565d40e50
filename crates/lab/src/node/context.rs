//! What everything on a node works with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::children::Children;

/// A node as its pod runner sees it. Paths are those inside the node's mount namespace.
///
/// The pod runner ([`crate::pod::Runner`]) gets this by `Arc`. It watches the pods bound to `name`, runs them,
/// and starts every process through `children`.
#[derive(Debug)]
pub struct Context {
    /// Name of the Node object; also the host name.
    pub name: String,
    /// The labels its Node object starts with.
    pub labels: BTreeMap<String, String>,
    /// The node's own addresses, primary first: `hostIPs` of its pods.
    pub addrs: Vec<IpAddr>,
    /// How to reach the API server.
    pub kubeconfig: PathBuf,
    /// The node's run directory, `/run`.
    pub run_dir: PathBuf,
    /// Where the CNI configuration appears once the agent is ready (`/run/cni/net.d`).
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins are (`/run/cni/bin`).
    pub cni_bin_dir: PathBuf,
    /// Starts and waits for every process of the node.
    pub children: Children,
}
