//! What is answered to names that the cluster's objects do not have: static hosts, rewrites, and servers
//! that are asked, by zone.

pub mod corefile;
mod document;
mod print;
mod tree;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::{DomainName, QueryLog};

pub use document::NoUpstream;
pub use tree::{Invalid, flat_yaml};

/// Settings of everything beyond the cluster's own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarding {
    /// Names with addresses, each in the order in which they were written.
    pub hosts: Vec<Host>,
    /// For how long others may remember the hosts, in seconds.
    pub hosts_ttl: u32,
    /// Names that stand for others. The first that fits a question is applied, and no other.
    pub rewrites: Vec<Rewrite>,
    /// Who is asked. The longest zone that a name is in counts; the root is one.
    pub zones: Vec<ForwardZone>,
    /// What is remembered.
    pub cache: CacheSettings,
    /// Questions that others are asked at the same time.
    pub max_concurrent: usize,
    /// For how long at least a policy that allows a name allows an address that was answered for it.
    pub least_allowed: Duration,
    /// Which questions are logged, where the flag of the agent is not what holds.
    pub log: Option<QueryLog>,
}

/// Addresses for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The address.
    pub ip: IpAddr,
    /// Its names, in lower case. The address leads back to all of them.
    pub names: Vec<DomainName>,
}

/// Names that are looked up by another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Which ones, in lower case.
    pub from: Pattern,
    /// What it is looked up as; for a suffix, what takes the suffix's place.
    pub to: DomainName,
}

/// Which names are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// This one.
    Exact(DomainName),
    /// Those under this one, and not itself.
    Suffix(DomainName),
}

/// Who is asked about a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardZone {
    /// The zone, in lower case.
    pub zone: DomainName,
    /// The servers.
    pub to: Vec<Upstream>,
    /// Who of them is first.
    pub policy: Policy,
    /// A file of certificates, in PEM, that those of TLS servers lead to; the system's when `None`.
    pub ca: Option<String>,
    /// How many health checks fail, one after the other, until a server is taken for down. Never, when 0.
    pub max_fails: u32,
    /// How long a connection that nothing is asked on is kept.
    pub expire: Duration,
}

/// One server, or some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Upstream {
    /// The nameservers in this file, which has the form of `/etc/resolv.conf`.
    File(String),
    /// This one.
    Server(Server),
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Where it is.
    pub addr: SocketAddr,
    /// How it is asked.
    pub over: Over,
}

/// How a server is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Over {
    /// In datagrams, and by TCP what does not fit.
    Udp,
    /// By TCP alone.
    Tcp,
    /// By TLS (RFC 7858). Its certificate is for this name, or for its address when `None`.
    Tls(Option<String>),
}

/// Which of several servers is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// The first one that works.
    Sequential,
}

/// What is remembered of what others say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// Answers that say something.
    pub success: CacheClass,
    /// Answers that say that there is nothing.
    pub denial: CacheClass,
    /// For how long a failure is remembered.
    pub servfail: Duration,
    /// For how long after its time an answer is given when nobody has a newer one; never when zero.
    pub serve_stale: Duration,
    /// Questions in a row after which an answer is renewed before its time; never when 0.
    pub prefetch: u32,
}

/// What is remembered of one kind of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheClass {
    /// How many; none are when 0.
    pub capacity: usize,
    /// For how long at most, in seconds.
    pub max_ttl: u32,
    /// For how long at least, in seconds.
    pub min_ttl: u32,
}

impl ForwardZone {
    /// `zone` by these servers, and all else as CoreDNS has it.
    pub fn new(zone: DomainName, to: Vec<Upstream>) -> Self {
        ForwardZone {
            zone,
            to,
            policy: Policy::Random,
            ca: None,
            max_fails: 2,
            expire: Duration::from_secs(10),
        }
    }
}

/// CoreDNS's bounds (DNS-80, DNS-81), the node's nameservers, and stale answers.
impl Default for Forwarding {
    fn default() -> Self {
        let file = Upstream::File("/etc/resolv.conf".to_owned());
        Forwarding {
            hosts: Vec::new(),
            hosts_ttl: 3600,
            rewrites: Vec::new(),
            zones: vec![ForwardZone::new(DomainName::ROOT, vec![file])],
            cache: CacheSettings::default(),
            max_concurrent: 1000,
            least_allowed: Duration::from_secs(60),
            log: None,
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        let class = |max_ttl| CacheClass { capacity: 9984, max_ttl, min_ttl: 5 };
        CacheSettings {
            success: class(3600),
            denial: class(1800),
            servfail: Duration::from_secs(5),
            serve_stale: Duration::from_secs(3600),
            prefetch: 5,
        }
    }
}

/// As in the settings: `192.0.2.53:53`, `tcp://192.0.2.53:53`, `tls://192.0.2.53%dns.example:853`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.over {
            Over::Udp => write!(f, "{}", self.addr),
            Over::Tcp => write!(f, "tcp://{}", self.addr),
            Over::Tls(None) => write!(f, "tls://{}", self.addr),
            Over::Tls(Some(name)) => {
                let (ip, port) = (self.addr.ip(), self.addr.port());
                match ip {
                    IpAddr::V4(_) => write!(f, "tls://{ip}%{name}:{port}"),
                    IpAddr::V6(_) => write!(f, "tls://[{ip}]%{name}:{port}"),
                }
            }
        }
    }
}
