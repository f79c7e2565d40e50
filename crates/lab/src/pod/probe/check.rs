//! One try of one probe.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::grpc;
use super::http::{Get, get};
use crate::children::Children;
use crate::pod::env::expand_all;
use crate::pod::inside::Inside;

/// What a probe or hook is tried on.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The pod's first address.
    pub ip: Option<IpAddr>,
    /// The container's named ports.
    pub ports: Vec<ContainerPort>,
    /// The variables its manifest sets.
    pub env: Vec<EnvVar>,
    /// The way in.
    pub inside: Inside,
    /// Starts commands.
    pub children: Children,
    /// This binary.
    pub program: PathBuf,
}

/// What came of a try.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should be.
    Success,
    /// Good enough, but somebody may want to know.
    Warning(String),
    /// Not as it should be.
    Failure(String),
    /// It could not be tried.
    Impossible(String),
}

/// Tries `probe` once.
pub(crate) async fn check(target: &Target, probe: &Probe) -> Outcome {
    let seconds = probe.timeout_seconds.and_then(|value| u64::try_from(value).ok());
    let limit = Duration::from_secs(seconds.unwrap_or(1).max(1));
    if let Some(exec) = &probe.exec {
        return command(target, exec.command.as_deref().unwrap_or_default(), limit).await;
    }
    if let Some(action) = &probe.http_get {
        let made = Get::of(action, target, "probe");
        return match made {
            Ok(request) => get(request, limit).await,
            Err(why) => Outcome::Impossible(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        return match address(target, action) {
            Ok(address) => connect(&address, limit).await,
            Err(why) => Outcome::Impossible(why),
        };
    }
    if let Some(action) = &probe.grpc {
        let Some(ip) = target.ip else { return Outcome::Impossible(no_address()) };
        let port = u16::try_from(action.port).unwrap_or_default();
        let service = action.service.as_deref().unwrap_or_default();
        return grpc::check((ip, port).into(), service, limit).await;
    }
    Outcome::Impossible("missing probe handler".to_owned())
}

async fn command(target: &Target, argv: &[String], limit: Duration) -> Outcome {
    // Source: kubelet `ExpandContainerCommandOnlyStatic`: only what the manifest itself says.
    let said = |variable: &EnvVar| Some((variable.name.clone(), variable.value.clone()?));
    let env: Vec<_> = target.env.iter().filter_map(said).collect();
    let argv = expand_all(argv, &env);
    let with = (&target.children, target.program.as_path());
    let name = argv.join(" ");
    match target.inside.run(with, argv, Some(limit)).await {
        Ok(said) => match said.status {
            Some(status) if status.success() => Outcome::Success,
            Some(_) => Outcome::Failure(said.text),
            None => {
                let limit = limit.as_secs();
                Outcome::Failure(format!("command {name:?} timed out after {limit}s"))
            }
        },
        Err(error) => Outcome::Impossible(format!("failed to exec in container: {error}")),
    }
}

fn address(target: &Target, action: &TCPSocketAction) -> Result<String, String> {
    let port = port(&action.port, &target.ports)?;
    Ok(join(&host(action.host.as_deref(), target)?, port))
}

async fn connect(address: &str, limit: Duration) -> Outcome {
    match dial(address, limit).await {
        Ok(_) => Outcome::Success,
        Err(why) => Outcome::Failure(why),
    }
}

/// Opens a connection from the node.
///
/// # Errors
/// What stood in the way, in the words people look for.
pub(super) async fn dial(address: &str, limit: Duration) -> Result<TcpStream, String> {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("dial tcp {address}: {}", in_words(&error))),
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
    }
}

fn in_words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "connect: connection refused".to_owned(),
        Some(libc::EHOSTUNREACH) => "connect: no route to host".to_owned(),
        Some(libc::ENETUNREACH) => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

/// The host that is meant: what the manifest says, else the pod.
///
/// # Errors
/// If the pod has no address.
pub(super) fn host(named: Option<&str>, target: &Target) -> Result<String, String> {
    match named.filter(|host| !host.is_empty()) {
        Some(host) => Ok(host.to_owned()),
        None => target.ip.map(|ip| ip.to_string()).ok_or_else(no_address),
    }
}

fn no_address() -> String {
    "the pod has no address".to_owned()
}

/// Host and port as in a URL.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The port that is meant: a number, or the name of one of the container's.
///
/// # Errors
/// If there is none.
///
/// Source: `probe.ResolveContainerPort`.
pub(super) fn port(wanted: &IntOrString, ports: &[ContainerPort]) -> Result<u16, String> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
            }
        }
    };
    let number = u16::try_from(number).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("invalid port number: {wanted:?}"))
}

/// The ports of `container`, by which probes may call them.
pub(crate) fn ports(container: &Container) -> Vec<ContainerPort> {
    container.ports.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_a_name_of_the_container() {
        let named = |name: &str, number| ContainerPort {
            name: Some(name.to_owned()),
            container_port: number,
            ..ContainerPort::default()
        };
        let ports = [named("web", 8080), named("admin", 9090)];
        let text = |name: &str| IntOrString::String(name.to_owned());
        let cases = [
            (IntOrString::Int(80), Ok(80)),
            (text("web"), Ok(8080)),
            (text("admin"), Ok(9090)),
            (text("81"), Ok(81)),
            (text("none"), Err("couldn't find port: none")),
            (IntOrString::Int(0), Err("invalid port number: Int(0)")),
            (IntOrString::Int(70000), Err("invalid port number: Int(70000)")),
        ];
        for (wanted, expected) in cases {
            let expected = expected.map_err(str::to_owned);
            assert_eq!(port(&wanted, &ports), expected, "{wanted:?}");
        }
    }

    #[tokio::test]
    async fn a_tcp_probe_asks_for_a_connection_and_no_more() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().to_string();
        let limit = Duration::from_secs(5);
        assert_eq!(connect(&open, limit).await, Outcome::Success);
        drop(listener);
        let refused = format!("dial tcp {open}: connect: connection refused");
        assert_eq!(connect(&open, limit).await, Outcome::Failure(refused));
    }
}
