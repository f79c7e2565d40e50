//! What Services do over time: rollouts, deaths of agents and nodes, changes of every kind, under traffic
//! that notices.

mod change;
mod heal;
mod kill;
pub(crate) mod load;
mod order;
mod restart;
mod rollout;
pub(crate) mod streams;

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use kernel::netns::Netns;
use libtest_mimic::Trial;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::lab::{Lab, eventually, success, text};
use crate::services::stage::Place;
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    [
        change::trials(),
        heal::trials(),
        kill::trials(),
        order::trials(),
        restart::trials(),
        rollout::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What one kubectl command prints.
pub(crate) fn kubectl(lab: &Lab, words: &str) -> String {
    let words: Vec<&str> = words.split(' ').collect();
    success(&lab.kubectl(&words)).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"))
}

/// The network namespace of a pod, of a node or of the client outside.
pub(crate) fn netns(lab: &Lab, name: &str) -> Netns {
    Place::find(lab, name).netns
}

/// Whether an HTTP server answers a process of `node` there.
fn answers(lab: &Lab, node: &str, server: SocketAddr) -> Result<(), String> {
    let server = server.to_string();
    success(&lab.node(node, &["curl", "-sf", "-m2", "-o/dev/null", &server])).map(drop)
}

/// What the agent of `node` says when it is asked this over its socket.
pub(crate) fn ask_agent(lab: &Lab, node: &str, what: &str) -> Result<String, String> {
    let url = format!("http://agent/{what}");
    success(&lab.node(node, &["curl", "-sf", "--unix-socket", "/run/seaway/agent.sock", &url]))
}

/// Whether the agent of `node`, which is ready, has changed nothing of the kernel's since it started:
/// nothing but its own sockets.
pub(crate) fn has_changed_nothing(lab: &Lab, node: &str) -> Result<(), String> {
    let metrics = ask_agent(lab, node, "metrics")?;
    let is_change = |line: &&str| line.starts_with("seaway_step_changes_total");
    let steps: Vec<&str> = metrics.lines().filter(is_change).collect();
    let is_kernels = |line: &&&str| !line.contains("\"listeners\"");
    match steps.iter().filter(is_kernels).find(|line| !line.ends_with(" 0")) {
        Some(changed) => Err(format!("{node}: {changed}")),
        None if steps.is_empty() => Err(format!("{node} counts no changes: {metrics}")),
        None => Ok(()),
    }
}

/// Puts another agent in the place of that of `node`.
pub(crate) fn restart_agent(lab: &Lab, node: &str) {
    let output = lab.seaway(&["lab", "restart-agent", node]).output();
    let output = output.expect("start seaway lab restart-agent");
    assert!(output.status.success(), "restart the agent of {node}: {}", lab.told(&output));
}

/// Sends a signal to a process of a lab, which may have ended by itself.
pub(crate) fn signal(process: &processes::Process, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.pid).expect("a pid"));
    match nix::sys::signal::kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("send {signal} to {process:?}: {error}"),
    }
}

/// The address of a Service, and a port of it.
pub(crate) fn cluster_ip(lab: &Lab, service: &str, port: u16) -> SocketAddr {
    let path = format!("get service {service} -o jsonpath={{.spec.clusterIP}}");
    let ip: IpAddr = kubectl(lab, &path).parse().expect("an address");
    SocketAddr::new(ip, port)
}

/// A lab with pods `one` and `two` to run clients in, on a node each, and a Service `web` that has all of
/// the endpoints of this Deployment.
fn with_clients(flags: &[&str], deployment: &str, kind: &str) -> Lab {
    let yaml = [
        manifests::pod("one", "node-1", "seaway/shell"),
        manifests::pod("two", "node-2", "seaway/shell"),
        deployment.to_owned(),
        service("web", kind),
    ];
    let lab = Lab::up_with(&[flags, &["--ip-family", "ipv4"]].concat(), &yaml.concat());
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    let web = cluster_ip(&lab, "web", 80);
    for node in text(&lab.kubectl(&["get", "nodes", "-o", "name"])).lines() {
        let node = node.trim_start_matches("node/");
        eventually("nodes know the Service", || answers(&lab, node, web));
    }
    lab
}

/// A Deployment of echoes that are ready when they answer, as its manifest.
fn echoes(name: &str, replicas: usize) -> String {
    deployment(name, replicas, "image: seaway/echo")
}

/// A Deployment whose pods serve HTTP on 8080; `container` says by what.
fn deployment(name: &str, replicas: usize, container: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  \
         replicas: {replicas}\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}}}\n    spec:\n      terminationGracePeriodSeconds: 5\n      \
         containers:\n      - name: main\n        {container}\n        \
         readinessProbe: {{httpGet: {{port: 8080}}, periodSeconds: 1}}\n"
    )
}

/// A Service of that kind for the pods of [`echoes`], with their three ports.
pub(crate) fn service(name: &str, kind: &str) -> String {
    let mut yaml = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  type: {kind}\n  \
         selector: {{app: {name}}}\n  ports:\n"
    );
    for (port, target, protocol) in [(80, 8080, "TCP"), (90, 9090, "TCP"), (90, 9090, "UDP")] {
        let port_name = format!("{}-{port}", protocol.to_lowercase());
        writeln!(
            yaml,
            "  - {{name: {port_name}, port: {port}, targetPort: {target}, protocol: {protocol}}}"
        )
        .expect("a String takes any text");
    }
    yaml
}
