//! A request: environment and configuration together, checked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use model::{AttachmentKey, Mac, PodRef, PortMapping, SearchList};

use super::conf::{self, Conf};
use super::environment::{Command, Environment};
use super::{AddResult, Code, Dns, Error, Version, args};

/// What a runtime asks of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The version to answer in.
    pub version: Version,
    /// Name of the network; empty for a DEL whose configuration is gone.
    pub network: String,
    /// Where the agent is.
    pub paths: Paths,
    /// What to do.
    pub operation: Operation,
}

/// Where the plugin finds the agent, from the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `runDir`: directory of the agent's sockets.
    pub run_dir: PathBuf,
    /// `stateDir`: directory of the agent's ledger, and of the DELs it still has to do.
    pub state_dir: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths { run_dir: "/run/seaway".into(), state_dir: "/var/lib/seaway".into() }
    }
}

impl Paths {
    /// The agent's CNI socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("cni.sock")
    }

    /// The directory where a DEL waits while the agent is down, a file each.
    pub fn pending(&self) -> PathBuf {
        self.state_dir.join("pending")
    }

    /// The file in which the DEL of `key` waits.
    pub fn pending_del(&self, key: &AttachmentKey) -> PathBuf {
        self.pending().join(key.host_link().as_str())
    }
}

/// One operation with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Join a container to the network.
    Add(Box<Add>),
    /// Undo that, as far as there is anything to undo.
    Del(AttachmentKey),
    /// See whether the network is still as ADD left it.
    Check(Box<Check>),
    /// Remove every attachment of this network that is not in the set; `None` is `disableGC`.
    Gc(Option<BTreeSet<AttachmentKey>>),
    /// See whether ADD would work.
    Status,
}

/// What ADD needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Container and interface.
    pub key: AttachmentKey,
    /// Path of the container's network namespace.
    pub netns: PathBuf,
    /// The pod, when the runtime said which.
    pub pod: Option<PodRef>,
    /// Addresses asked for; any will do when empty.
    pub addrs: Vec<IpAddr>,
    /// Hardware address asked for.
    pub mac: Option<Mac>,
    /// Ports of the node that lead to the container.
    pub port_mappings: Vec<PortMapping>,
    /// Where the container looks for names, as far as the runtime said so.
    pub search: Option<SearchList>,
    /// Name resolution from the configuration, passed on in the result.
    pub dns: Dns,
    /// What earlier plugins of the chain returned.
    pub previous: Option<AddResult>,
}

/// What CHECK needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Container and interface.
    pub key: AttachmentKey,
    /// Path of the container's network namespace.
    pub netns: PathBuf,
    /// What the chain's ADD returned in the end.
    pub previous: AddResult,
}

/// Reads a request. VERSION is no request: the plugin answers it alone ([`super::answer_version`]).
///
/// # Errors
/// With the code of the specification and a message that names the variable or field.
pub fn parse(environment: &Environment, stdin: &[u8]) -> Result<Request, Error> {
    match environment.command.parse()? {
        Command::Add => add(environment, conf::parse(stdin)?),
        Command::Del => del(environment, stdin),
        Command::Check => check(environment, conf::parse(stdin)?),
        Command::Gc => gc(conf::parse(stdin)?),
        Command::Status => {
            let conf = conf::parse(stdin)?;
            requires(&conf, Command::Status, Version::V1_1_0)?;
            Ok(request(conf, Operation::Status))
        }
        Command::Version => {
            Err(Error::new(Code::InvalidEnvironment, "CNI_COMMAND: VERSION needs no agent"))
        }
    }
}

fn add(environment: &Environment, mut conf: Conf) -> Result<Request, Error> {
    let (key, netns) = environment.key_and_netns()?;
    let args = args::parse(&environment.args)?;
    if let Some(previous) = &conf.previous {
        refuse_existing(previous, &key, &environment.netns)?;
    }
    let asked = std::mem::take(&mut conf.asked);
    let addrs = if asked.addrs.is_empty() { args.addr.into_iter().collect() } else { asked.addrs };
    let add = Add {
        key,
        netns,
        pod: args.pod,
        addrs,
        mac: asked.mac.or(args.mac),
        port_mappings: asked.port_mappings,
        search: asked.search,
        dns: std::mem::take(&mut conf.dns),
        previous: conf.previous.take(),
    };
    Ok(request(conf, Operation::Add(Box::new(add))))
}

/// An earlier plugin of the chain may have made the very interface this one should make.
fn refuse_existing(previous: &AddResult, key: &AttachmentKey, netns: &str) -> Result<(), Error> {
    let taken =
        |i: &super::Interface| i.name == key.ifname.as_str() && i.sandbox.as_deref() == Some(netns);
    if !previous.interfaces.iter().any(taken) {
        return Ok(());
    }
    let msg = format!("interface {} of {netns} exists already", key.ifname);
    Err(Error::new(Code::Conflict, msg).because("an earlier plugin of the chain made it"))
}

/// All a DEL needs is the attachment: whatever else is wrong must not keep it from cleaning up.
fn del(environment: &Environment, stdin: &[u8]) -> Result<Request, Error> {
    let operation = Operation::Del(environment.key()?);
    let conf = conf::parse(stdin).unwrap_or_else(|_| Conf {
        version: Version::of(stdin),
        paths: conf::paths_of(stdin),
        ..Conf::default()
    });
    Ok(request(conf, operation))
}

fn check(environment: &Environment, mut conf: Conf) -> Result<Request, Error> {
    requires(&conf, Command::Check, Version::V0_4_0)?;
    let (key, netns) = environment.key_and_netns()?;
    let missing = || Error::new(Code::InvalidConfiguration, "prevResult: CHECK needs it");
    let previous = conf.previous.take().ok_or_else(missing)?;
    Ok(request(conf, Operation::Check(Box::new(Check { key, netns, previous }))))
}

fn gc(mut conf: Conf) -> Result<Request, Error> {
    requires(&conf, Command::Gc, Version::V1_1_0)?;
    if conf.disable_gc {
        return Ok(request(conf, Operation::Gc(None)));
    }
    let keep = conf.keep.take().ok_or_else(|| {
        Error::new(Code::InvalidConfiguration, "cni.dev/valid-attachments: GC needs it")
            .because("a missing list is not an empty one, which would remove every attachment")
    })?;
    Ok(request(conf, Operation::Gc(Some(keep))))
}

fn requires(conf: &Conf, command: Command, since: Version) -> Result<(), Error> {
    if conf.version >= since {
        return Ok(());
    }
    let msg = format!("cniVersion {} has no {command}: it came with {since}", conf.version);
    Err(Error::new(Code::IncompatibleVersion, msg))
}

fn request(conf: Conf, operation: Operation) -> Request {
    Request { version: conf.version, network: conf.name, paths: conf.paths, operation }
}
