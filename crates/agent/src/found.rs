//! What an agent finds out by itself of the cluster it is in, where nobody tells it: the API server's
//! addresses and the DNS domain.
//!
//! The kubelet's files, which have credentials beside what is wanted, are read by `seaway agent find`, a
//! process of its own that is gone before the agent starts. What it found is `<state dir>/found.json`. The
//! addresses that the cluster itself tells are `<state dir>/api-servers`, one in a line, for the next start.
//! See docs/decisions/0040.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::{Access, Found, Kubelet, Listed, ServerUrl, Servers};
use model::{EndpointSlice, Protocol, ServiceName, SliceKey};
use serde::{Deserialize, Serialize};
use tokio::sync::watch::Receiver;

use crate::install;
use crate::run::Settings;
use crate::shown::View;

/// What `seaway agent find` found, in the state directory.
pub(crate) const FILE: &str = "found.json";

/// The addresses that the cluster tells, in the state directory.
pub(crate) const SERVERS: &str = "api-servers";

/// [`FILE`].
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Kept {
    server: Option<String>,
    server_file: String,
    authorities: Option<String>,
    domain: Option<String>,
    domain_file: String,
}

/// Looks for the files of a kubelet on the node whose root is shown at `root`, its kubeconfig at `place` if
/// one is given, and keeps in `state_dir` what they say.
///
/// # Errors
/// When that can't be written.
pub fn find(root: &Path, place: Option<&str>, state_dir: &Path) -> io::Result<Found> {
    let found = kube::find(root, place);
    let kubelet = found.kubelet.as_ref();
    let kept = Kept {
        server: kubelet.map(|kubelet| kubelet.server.to_string()),
        server_file: kubelet.map(|kubelet| kubelet.file.clone()).unwrap_or_default(),
        authorities: kubelet.and_then(|kubelet| kubelet.authorities.clone()),
        domain: found.domain.as_ref().map(|(domain, _)| domain.clone()),
        domain_file: found.domain.as_ref().map(|(_, file)| file.clone()).unwrap_or_default(),
    };
    let text = serde_json::to_string_pretty(&kept).map_err(io::Error::other)?;
    fs::create_dir_all(state_dir)?;
    install::write(&state_dir.join(FILE), 0o600, text.as_bytes())?;
    Ok(found)
}

/// What a look found that was taken before; nothing when there was none.
///
/// # Errors
/// In one line, when the file does not read.
pub fn found(state_dir: &Path) -> Result<Found, String> {
    let path = state_dir.join(FILE);
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        text => text.map_err(|error| wrong(&error))?,
    };
    let kept: Kept = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    let server = kept.server.map(|server| server.parse::<ServerUrl>()).transpose();
    let kubelet = server.map_err(|error| wrong(&error))?.map(|server| Kubelet {
        server,
        file: kept.server_file,
        authorities: kept.authorities,
    });
    let domain = kept.domain.map(|domain| (domain, kept.domain_file));
    Ok(Found { kubelet, domain, unread: Vec::new() })
}

/// The addresses at which the API server of a pod's cluster may be: those of the setting, else the one
/// the node's kubelet has; those of `state_dir`; and that of the environment.
pub fn servers(setting: Vec<ServerUrl>, found: &Found, state_dir: &Path) -> Servers {
    // What does not read is as good as nothing: it is written again.
    let told = fs::read_to_string(state_dir.join(SERVERS)).unwrap_or_default();
    let told = told.lines().filter_map(|line| line.parse().ok()).collect();
    let of = |name: &str| std::env::var(name).ok();
    let service = of("KUBERNETES_SERVICE_HOST").zip(of("KUBERNETES_SERVICE_PORT"));
    let service = service.and_then(|(host, port)| {
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host };
        format!("https://{bracketed}:{port}").parse().ok()
    });
    Servers::new(setting, found.kubelet.clone(), told, service)
}

/// Keeps the addresses up to date by what the cluster tells, here and on disk, for as long as it is told.
pub(crate) async fn follow(
    servers: Servers,
    mut slices: Receiver<Listed<SliceKey, EndpointSlice>>,
    state_dir: PathBuf,
) {
    loop {
        let told = slices.borrow_and_update().listed.as_ref().map(endpoints).unwrap_or_default();
        let before = servers.of_cluster();
        servers.learn(told);
        let now = servers.of_cluster();
        if now != before {
            let text: String = now.iter().map(|url| format!("{url}\n")).collect();
            if let Err(error) = install::write(&state_dir.join(SERVERS), 0o600, text.as_bytes()) {
                tracing::warn!("write {}: {error}", state_dir.join(SERVERS).display());
            }
        }
        if slices.changed().await.is_err() {
            return;
        }
    }
}

/// Where the endpoints of `default/kubernetes` answer, in order.
fn endpoints(slices: &model::OrdMap<SliceKey, Arc<EndpointSlice>>) -> Vec<SocketAddr> {
    let service = ServiceName::new("default", "kubernetes");
    let first = SliceKey { service: service.clone(), slice: "".into() };
    let slices = slices.range(first..).take_while(|(key, _)| key.service == service);
    let mut addrs = Vec::new();
    for (_, slice) in slices {
        let ports = slice.ports.iter().filter(|port| {
            port.protocol == Protocol::Tcp && (&*port.name == "https" || slice.ports.len() == 1)
        });
        for port in ports {
            let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready);
            addrs.extend(ready.map(|endpoint| SocketAddr::new(endpoint.addr, port.port)));
        }
    }
    addrs.sort();
    addrs.dedup();
    addrs
}

/// Where the API server is, in a line.
pub(crate) fn api_server(access: &Access) -> String {
    match access {
        Access::Kubeconfig(path) => format!("as the kubeconfig {} says", path.display()),
        Access::InCluster(servers) => servers.to_string(),
    }
}

/// `seaway dump found`: what was found out, and from where each is known.
pub(crate) fn text(settings: &Settings, view: &View) -> String {
    let mut text = String::new();
    let mut line = |what: &str, found: &str| {
        writeln!(text, "{what:<14} {found}").expect("writing to a String does not fail");
    };
    let world = &view.world;
    line("API server", &api_server(&settings.access));
    line("DNS domain", &format!("{} ({})", settings.config.dns.domain, settings.domain_origin));
    let node = world.nodes.get(&settings.config.node);
    let pods = node.map(|node| list(&node.pod_cidrs)).unwrap_or_default();
    line("pod CIDRs", &format!("{pods} (of this Node)"));
    let services: Vec<String> =
        world.service_cidrs.values().map(|cidr| list(&cidr.cidrs)).collect();
    match services.is_empty() {
        true => {
            line("Service CIDRs", "unknown: this cluster has no ServiceCIDRs, and none is needed")
        }
        false => line("Service CIDRs", &format!("{} (of ServiceCIDRs)", services.join(" "))),
    }
    let mtu = settings.config.mtu.map_or("by the uplink", |_| "as --mtu says");
    let mtus = view.compiled.plan.pods.iter().map(|(_, row)| row.mtu);
    match mtus.max() {
        Some(bytes) => line("MTU of pods", &format!("{bytes} ({mtu})")),
        None => line("MTU of pods", &format!("{mtu}; there is no pod yet")),
    }
    line("routing", &format!("{}: see `seaway dump peers`", settings.config.routing));
    if let Some(why) = install::preferred_to_ours(&settings.cni_conf_dir) {
        line("CNI", &why);
    }
    text
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn what_was_found_reads_as_it_was_written() {
        let scratch = Scratch::new();
        assert_eq!(found(scratch.path()), Ok(Found::default()));
        let root = scratch.path().join("root");
        fs::create_dir_all(root.join("opt")).unwrap();
        let kubeconfig = "clusters: [{name: c, cluster: {server: 'https://a:6443'}}]\n\
                          contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        fs::write(root.join("opt/kubeconfig"), kubeconfig).unwrap();
        let looked = find(&root, Some("/opt/kubeconfig"), scratch.path()).unwrap();
        assert_eq!(looked.kubelet.as_ref().unwrap().server.as_str(), "https://a:6443");
        assert_eq!(found(scratch.path()), Ok(looked));
        fs::write(scratch.path().join(FILE), "{").unwrap();
        assert!(found(scratch.path()).unwrap_err().contains("found.json: "));
    }

    #[tokio::test]
    async fn what_the_cluster_tells_of_its_api_servers_is_kept_for_the_next_start() {
        let scratch = Scratch::new();
        let slice = |name: &str, addr: &str, port: u16| {
            let json = serde_json::json!({
                "metadata": { "namespace": "default", "name": name,
                    "labels": { "kubernetes.io/service-name": name } },
                "addressType": "IPv4",
                "ports": [{ "name": "https", "port": port }],
                "endpoints": [{ "addresses": [addr] }],
            });
            model::decode::endpoint_slice(json.to_string().as_bytes()).unwrap().unwrap()
        };
        let mut listed = model::OrdMap::new();
        for slice in [slice("kubernetes", "192.0.2.1", 6443), slice("web", "192.0.2.9", 1)] {
            listed.insert(slice.key.clone(), Arc::new(slice));
        }
        let level = Listed { listed: Some(listed), ..Listed::default() };
        let (told, slices) = tokio::sync::watch::channel(level);
        let servers = super::servers(Vec::new(), &Found::default(), scratch.path());
        drop(told);
        follow(servers.clone(), slices, scratch.path().to_owned()).await;
        assert_eq!(servers.of_cluster(), ["https://192.0.2.1:6443".parse().unwrap()]);
        let next = super::servers(Vec::new(), &Found::default(), scratch.path());
        assert_eq!(next.of_cluster(), servers.of_cluster());
    }
}
