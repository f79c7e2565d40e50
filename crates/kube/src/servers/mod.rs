//! Where the API server of a pod's cluster answers: the addresses that are known, where from, and which of
//! them is in use.
//!
//! A node without a network has no way to the Service `default/kubernetes`: it is this agent that will make
//! one. So its address is the last to be tried, behind what the operator says, what the node's kubelet goes
//! by, and what the cluster itself said before. Source: docs/decisions/0040.

mod failover;
mod kubelet;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use failover::Failover;
pub use kubelet::{Found, Kubelet, find};

/// The name that every API server has a certificate for, whatever its address is.
///
/// Source: kubeadm `GetAPIServerAltNames`; clients in pods that go by DNS rely on it.
pub(crate) const NAME: &str = "kubernetes.default.svc";

/// An address of an API server: `https://HOST` or `https://HOST:PORT`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// As it was written.
    text: String,
    host: String,
}

/// A text that is no [`ServerUrl`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: an address like https://192.0.2.1:6443")]
pub struct NoServerUrl(String);

impl ServerUrl {
    /// Its host: a name or an address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl From<SocketAddr> for ServerUrl {
    fn from(addr: SocketAddr) -> Self {
        ServerUrl { text: format!("https://{addr}"), host: addr.ip().to_string() }
    }
}

impl FromStr for ServerUrl {
    type Err = NoServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoServerUrl(text.to_owned());
        let text = text.strip_suffix('/').unwrap_or(text);
        let authority = text.strip_prefix("https://").ok_or_else(wrong)?;
        // Brackets are an IPv6 address's, which has colons of its own.
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
                (host, port)
            }
            None => match authority.split_once(':') {
                Some((host, _)) => (host, &authority[host.len()..]),
                None => (authority, ""),
            },
        };
        let is_port = port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        let is_host = !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:".contains(c));
        if !(is_port && is_host) {
            return Err(wrong());
        }
        Ok(ServerUrl { text: text.to_owned(), host: host.to_owned() })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// From where an address is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The operator said so.
    Setting,
    /// This file of the node's kubelet.
    Kubelet(String),
    /// EndpointSlices of the Service `default/kubernetes`, now or before this agent started.
    Cluster,
    /// The cluster IP of that Service, as the environment of pods has it.
    Service,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Setting => f.write_str("as --api-server says"),
            Origin::Kubelet(file) => write!(f, "as the kubelet's {file} says"),
            Origin::Cluster => f.write_str("an endpoint of default/kubernetes"),
            Origin::Service => f.write_str("the cluster IP of default/kubernetes"),
        }
    }
}

/// An address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub url: ServerUrl,
    /// From where it is known.
    pub origin: Origin,
    /// Authorities, in PEM, whose word counts there beside those of the service account.
    pub(crate) authorities: Option<Arc<str>>,
}

impl Server {
    /// The name its certificate has to have. The address of a load balancer is often in none; where a name was
    /// said, or the kubelet goes by an address, that is in it.
    pub(crate) fn name(&self) -> &str {
        let is_addr = self.url.host().parse::<std::net::IpAddr>().is_ok();
        match self.origin {
            Origin::Setting if !is_addr => self.url.host(),
            Origin::Kubelet(_) => self.url.host(),
            Origin::Setting | Origin::Cluster | Origin::Service => NAME,
        }
    }
}

/// The addresses at which the API server may answer, in the order in which they are tried. All clients of
/// an agent share them, by clones.
#[derive(Debug, Clone)]
pub struct Servers(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    /// What the operator or the kubelet says.
    first: Vec<Server>,
    /// What the cluster says.
    cluster: Vec<Server>,
    /// Where the environment leads.
    service: Option<Server>,
    /// Where a connection was made last.
    present: Option<Server>,
}

impl Servers {
    /// The addresses that a setting names or, without one, the kubelet's; then those that the cluster had
    /// when it was last asked; then that of the Service.
    pub fn new(
        setting: Vec<ServerUrl>,
        kubelet: Option<Kubelet>,
        cluster: Vec<ServerUrl>,
        service: Option<ServerUrl>,
    ) -> Self {
        let known =
            |origin: Origin| move |url| Server { url, origin: origin.clone(), authorities: None };
        let mut first: Vec<Server> = setting.into_iter().map(known(Origin::Setting)).collect();
        if first.is_empty() {
            first.extend(kubelet.map(|kubelet| Server {
                url: kubelet.server,
                origin: Origin::Kubelet(kubelet.file),
                authorities: kubelet.authorities.map(Into::into),
            }));
        }
        Servers(Arc::new(Mutex::new(Known {
            first,
            cluster: cluster.into_iter().map(known(Origin::Cluster)).collect(),
            service: service.map(known(Origin::Service)),
            present: None,
        })))
    }

    /// The cluster's own word: the endpoints of `default/kubernetes`. None at all is no word: a cluster
    /// without an API server says nothing.
    pub fn learn(&self, endpoints: impl IntoIterator<Item = SocketAddr>) {
        let of_cluster = |addr: SocketAddr| Server {
            url: addr.into(),
            origin: Origin::Cluster,
            authorities: None,
        };
        let cluster: Vec<Server> = endpoints.into_iter().map(of_cluster).collect();
        if !cluster.is_empty() {
            self.lock().cluster = cluster;
        }
    }

    /// Every address, the one in use first.
    pub fn all(&self) -> Vec<Server> {
        let known = self.lock();
        let mut all: Vec<Server> = Vec::new();
        let rest = known.first.iter().chain(&known.cluster).chain(&known.service);
        for server in known.present.iter().chain(rest) {
            if !all.iter().any(|other| other.url == server.url) {
                all.push(server.clone());
            }
        }
        all
    }

    /// The addresses the cluster said it has.
    pub fn of_cluster(&self) -> Vec<ServerUrl> {
        self.lock().cluster.iter().map(|server| server.url.clone()).collect()
    }

    /// Where a connection was made last.
    pub fn present(&self) -> Option<Server> {
        self.lock().present.clone()
    }

    /// A connection was made there.
    pub(crate) fn answered(&self, server: Server) {
        let mut known = self.lock();
        if known.present.as_ref() != Some(&server) {
            tracing::info!("the API server answers at {}, {}", server.url, server.origin);
            known.present = Some(server);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = self.present();
        match &present {
            Some(server) => write!(f, "{}, {}", server.url, server.origin)?,
            None => f.write_str("none has answered yet")?,
        }
        let others = self.all().into_iter().filter(|server| Some(server) != present.as_ref());
        let others: Vec<String> =
            others.map(|server| format!("{} ({})", server.url, server.origin)).collect();
        match others.is_empty() {
            true => Ok(()),
            false => write!(f, "; else {}", others.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_https_with_a_host_and_perhaps_a_port() {
        for (text, host) in [
            ("https://192.0.2.1:6443", "192.0.2.1"),
            ("https://[2001:db8::1]:6443", "2001:db8::1"),
            ("https://api.example.com", "api.example.com"),
            ("https://api.example.com:443/", "api.example.com"),
        ] {
            assert_eq!(url(text).host(), host, "{text}");
        }
        for text in [
            "192.0.2.1:6443",
            "http://192.0.2.1",
            "https://",
            "https://a/b",
            "https://a:b",
            "https://[::1",
            "https://[a]:1",
            "https://a:65536",
            "https://a b",
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(NoServerUrl(text.to_owned())));
        }
    }

    #[test]
    fn what_is_said_comes_before_what_is_known_and_what_answers_before_all() {
        let kubelet = |server: &str| Kubelet {
            server: url(server),
            file: "/etc/kubernetes/kubelet.conf".to_owned(),
            authorities: None,
        };
        let order = |servers: &Servers| -> Vec<String> {
            servers.all().iter().map(|server| server.url.to_string()).collect()
        };
        let of = |setting: &[&str]| {
            Servers::new(
                setting.iter().map(|text| url(text)).collect(),
                Some(kubelet("https://lb:6443")),
                vec![url("https://10.0.0.1:6443"), url("https://10.0.0.2:6443")],
                Some(url("https://10.96.0.1")),
            )
        };
        let said = of(&["https://10.0.0.2:6443"]);
        let expect = ["https://10.0.0.2:6443", "https://10.0.0.1:6443", "https://10.96.0.1"];
        assert_eq!(order(&said), expect);
        let servers = of(&[]);
        assert_eq!(order(&servers)[0], "https://lb:6443");
        servers.answered(servers.all()[2].clone());
        assert_eq!(order(&servers)[..2], ["https://10.0.0.2:6443", "https://lb:6443"]);
        servers.learn(["10.0.0.3:6443".parse().unwrap()]);
        let expect = [
            "https://10.0.0.2:6443",
            "https://lb:6443",
            "https://10.0.0.3:6443",
            "https://10.96.0.1",
        ];
        assert_eq!(order(&servers), expect, "what answers stays, though the cluster forgot it");
        servers.learn([]);
        assert_eq!(order(&servers), expect);
        let shown = servers.to_string();
        assert!(
            shown.starts_with("https://10.0.0.2:6443, an endpoint of default/kubernetes; else")
        );
        assert!(shown.contains("(as the kubelet's /etc/kubernetes/kubelet.conf says)"), "{shown}");
    }

    #[test]
    fn a_certificate_is_for_the_name_that_was_said_or_for_the_one_all_have() {
        let names = |servers: &Servers| -> Vec<String> {
            servers.all().iter().map(|server| server.name().to_owned()).collect()
        };
        let servers = Servers::new(
            vec![url("https://api.example.com"), url("https://192.0.2.7")],
            None,
            vec![url("https://10.0.0.1:6443")],
            Some(url("https://10.96.0.1")),
        );
        assert_eq!(names(&servers), ["api.example.com", NAME, NAME, NAME]);
    }
}
