//! Starting a command inside a node, a pod or a host of the lab.
//!
//! Whoever owns the target hands out descriptors of its namespaces; the command is then started by
//! the caller's own process. So terminals, pipes, signals and exit codes work by themselves, and
//! nothing of the command passes through the lab.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command};

use kernel::confine::{Capabilities, limit_capabilities};
use kernel::netns::Netns;
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

/// How a command is to be started inside a target, as its owner says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrance {
    /// For each descriptor that comes along, in order, which namespaces of it to join (`CLONE_NEW…`
    /// flags, setns(2)).
    pub namespaces: Vec<i32>,
    /// The environment; the caller's own when `None`.
    pub env: Option<BTreeMap<String, String>>,
    /// Where to start; the root when `None`.
    pub workdir: Option<PathBuf>,
    /// Capabilities that are kept, as bits; all of them when `None`.
    pub capabilities: Option<u64>,
}

/// An open way into a target.
#[derive(Debug)]
pub struct Namespaces {
    /// How to start there.
    pub entrance: Entrance,
    /// The descriptors `entrance` speaks of.
    pub fds: Vec<OwnedFd>,
}

/// Every namespace a process can share with another and the lab uses.
pub const ALL: CloneFlags = CloneFlags::CLONE_NEWPID
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC);

impl Namespaces {
    /// Starts `command` inside. The caller's own threads stay where they are.
    ///
    /// # Errors
    /// When a namespace cannot be joined (the target is gone, or without root), or the command cannot
    /// be started there.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        if let Some(env) = &self.entrance.env {
            command.env_clear().envs(env);
        }
        self.run(|| command.spawn())?
    }

    /// Runs `work` on a thread inside: the place to open sockets.
    ///
    /// Joining a PID namespace concerns only what the thread starts.
    ///
    /// # Errors
    /// When a namespace cannot be joined; `work` was not run then.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.join()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The network namespace alone, for sockets and netlink; the caller's file system stays.
    ///
    /// # Errors
    /// When the namespace cannot be joined, or the target has none of its own.
    pub fn netns(&self) -> io::Result<Netns> {
        let net = CloneFlags::CLONE_NEWNET;
        let joins = |flags: &i32| CloneFlags::from_bits_retain(*flags).contains(net);
        let mut pairs = self.fds.iter().zip(&self.entrance.namespaces);
        let (fd, _) = pairs
            .find(|(_, flags)| joins(flags))
            .ok_or_else(|| io::Error::other("the target has no network of its own"))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(fd, net)?;
                Netns::current().map_err(io::Error::other)
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn join(&self) -> io::Result<()> {
        // Root and working directory are shared between threads unless said otherwise, and nobody
        // who shares them may change mount namespaces.
        unshare(CloneFlags::CLONE_FS)?;
        for (fd, flags) in self.fds.iter().zip(&self.entrance.namespaces) {
            setns(fd, CloneFlags::from_bits_retain(*flags))?;
        }
        std::env::set_current_dir(self.entrance.workdir.as_deref().unwrap_or("/".as_ref()))?;
        match self.entrance.capabilities {
            Some(bits) => limit_capabilities(Capabilities::from_bits(bits)),
            None => Ok(()),
        }
    }
}
