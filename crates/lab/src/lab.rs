//! A lab that is up, for whoever wants to use it: tests, `seaway check`, the command line.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::control::{AskError, ask};
use crate::directory::Directory;
use crate::enter::Namespaces;
use crate::fault::CableState;
use crate::node::{self, ContainerOf, Reply};
use crate::spec::{LabName, Spec};
use crate::supervisor::{Fault, Joined, Outside, Request};
use crate::topology;

/// A lab that is up.
#[derive(Debug, Clone)]
pub struct Lab {
    name: LabName,
    directory: Directory,
    spec: Spec,
}

/// Where a command can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A node, by name.
    Node(String),
    /// A container of a pod.
    Container(ContainerOf),
    /// A host that is not a node.
    Outside(Outside),
}

/// A lab could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is no such lab, or it is not up.
    #[error("lab {0} is not up; `seaway lab up --name {0}` makes it")]
    NotUp(LabName),
    /// The lab's own description cannot be read.
    #[error("read {path}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: io::Error,
    },
    /// There is no such node.
    #[error("there is no node {name} in lab {lab}; it has {known}")]
    NoNode {
        /// The name that was asked for.
        name: String,
        /// The lab.
        lab: LabName,
        /// Names there are.
        known: String,
    },
    /// No node runs the pod.
    #[error("no node of lab {lab} runs pod {pod}")]
    NoPod {
        /// `namespace/name`.
        pod: String,
        /// The lab.
        lab: LabName,
    },
    /// No node that could be asked runs the pod.
    #[error("no node of lab {lab} that runs knows pod {pod}; paused: {paused}")]
    NoPodHeard {
        /// `namespace/name`.
        pod: String,
        /// The lab.
        lab: LabName,
        /// Nodes that could not be asked.
        paused: String,
    },
    /// The node is paused.
    #[error("{name} is paused; `seaway lab resume-node {name} --name {lab}` has it go on")]
    Paused {
        /// The node.
        name: String,
        /// The lab.
        lab: LabName,
    },
    /// The supervisor or a node did not do as asked.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Lab {
    /// The lab of this name.
    ///
    /// # Errors
    /// [`LabError::NotUp`] when it is not up.
    pub fn open(name: &LabName) -> Result<Self, LabError> {
        let directory = Directory::of(name);
        if !directory.is_up() {
            return Err(LabError::NotUp(name.clone()));
        }
        let path = directory.spec_file();
        let spec = std::fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let spec = spec.map_err(|cause| LabError::Spec { path, cause })?;
        Ok(Lab { name: name.clone(), directory, spec })
    }

    /// Its name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// What it was made from. Nodes may have joined and left since.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How to reach its API server.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.kubeconfig()
    }

    /// Names of its nodes, running or not, in the order of their numbers.
    pub fn nodes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("nodes"));
        let names = entries.into_iter().flatten().flatten();
        let mut numbers: Vec<u32> =
            names.filter_map(|entry| topology::node_number(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(topology::node_name).collect()
    }

    /// The way into `target`.
    ///
    /// # Errors
    /// [`LabError`] when there is no such target, or it does not answer.
    pub fn enter(&self, target: &Target) -> Result<Namespaces, LabError> {
        match target {
            Target::Outside(outside) => self.enter_outside(*outside),
            Target::Node(name) => self.enter_node(name),
            Target::Container(of) => self.enter_container(of),
        }
    }

    /// The log file of a container's newest run, as this machine sees it.
    ///
    /// # Errors
    /// [`LabError`] when no node runs the pod, or the container has never run.
    pub fn log_of(&self, of: &ContainerOf) -> Result<PathBuf, LabError> {
        match self.ask_nodes(of, &node::Request::Log(of.clone()))? {
            (node, Reply::Log(path), _) => {
                let below = path.strip_prefix("/run").unwrap_or(&path);
                Ok(self.directory.node(&node).run().join(below))
            }
            (_, other, _) => Err(unexpected(&other)),
        }
    }

    /// Starts a node, this one or the next, and says its name. It is ready some time later.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn join(&self, name: Option<&str>) -> Result<String, LabError> {
        let request = Request::Join(name.map(str::to_owned));
        match ask(&self.directory.control_socket(), &request)? {
            (Joined::Node(name), _) => Ok(name),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Takes a node out: its pods end, then the node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn leave(&self, name: &str) -> Result<(), LabError> {
        self.known(name)?;
        ask::<_, Joined>(&self.directory.control_socket(), &Request::Leave(name.to_owned()))?;
        Ok(())
    }

    /// Puts another agent in the place of that of a node, which nobody notices.
    ///
    /// # Errors
    /// When there is no such node, or the new agent does not take over: the old one goes on then.
    pub fn restart_agent(&self, name: &str) -> Result<(), LabError> {
        match self.ask_node(name, &node::Request::RestartAgent)? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(unexpected(&other)),
        }
    }

    /// Does something to a node or a cable, or mends it.
    ///
    /// # Errors
    /// When there is no such node or cable, or it cannot be done.
    pub fn inflict(&self, fault: Fault) -> Result<(), LabError> {
        match &fault {
            Fault::Kill(node) | Fault::Pause(node) | Fault::Resume(node) => self.known(node)?,
            Fault::Cut(_) | Fault::Impair(..) | Fault::Heal(_) => {}
        }
        ask::<_, Joined>(&self.directory.control_socket(), &Request::Fault(fault))?;
        Ok(())
    }

    /// Every cable and what is wrong with it.
    ///
    /// # Errors
    /// When the lab does not answer.
    pub fn cables(&self) -> Result<Vec<CableState>, LabError> {
        match ask(&self.directory.control_socket(), &Request::Cables)? {
            (Joined::Cables(cables), _) => Ok(cables),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn enter_outside(&self, outside: Outside) -> Result<Namespaces, LabError> {
        match ask(&self.directory.control_socket(), &Request::Enter(outside))? {
            (Joined::Entrance(entrance), fds) => Ok(Namespaces { entrance, fds }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn enter_node(&self, name: &str) -> Result<Namespaces, LabError> {
        match self.ask_node(name, &node::Request::Node)? {
            (Reply::Entrance(entrance), fds) => Ok(Namespaces { entrance, fds }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn ask_node(
        &self,
        name: &str,
        request: &node::Request,
    ) -> Result<(Reply, Vec<OwnedFd>), LabError> {
        self.known(name)?;
        if self.directory.node(name).is_paused() {
            return Err(LabError::Paused { name: name.to_owned(), lab: self.name.clone() });
        }
        Ok(ask(&self.directory.node(name).control_socket(), request)?)
    }

    fn enter_container(&self, of: &ContainerOf) -> Result<Namespaces, LabError> {
        match self.ask_nodes(of, &node::Request::Pod(of.clone()))? {
            (_, Reply::Entrance(entrance), fds) => Ok(Namespaces { entrance, fds }),
            (_, other, _) => Err(unexpected(&other)),
        }
    }

    /// Asks every node about a container until one knows it; gives that node's name, too.
    fn ask_nodes(
        &self,
        of: &ContainerOf,
        request: &node::Request,
    ) -> Result<(String, Reply, Vec<OwnedFd>), LabError> {
        let mut paused = Vec::new();
        for node in self.nodes() {
            if self.directory.node(&node).is_paused() {
                paused.push(node);
                continue;
            }
            match ask(&self.directory.node(&node).control_socket(), request) {
                // A dead node runs nothing.
                Ok((Reply::Elsewhere, _)) | Err(AskError::NotUp { .. }) => {}
                Ok((reply, fds)) => return Ok((node, reply, fds)),
                Err(other) => return Err(other.into()),
            }
        }
        let (pod, lab) = (format!("{}/{}", of.namespace, of.pod), self.name.clone());
        Err(match paused.is_empty() {
            true => LabError::NoPod { pod, lab },
            false => LabError::NoPodHeard { pod, lab, paused: paused.join(", ") },
        })
    }

    fn known(&self, name: &str) -> Result<(), LabError> {
        let nodes = self.nodes();
        if nodes.iter().any(|node| node == name) {
            return Ok(());
        }
        let (name, lab, known) = (name.to_owned(), self.name.clone(), nodes.join(", "));
        Err(LabError::NoNode { name, lab, known })
    }
}

fn unexpected(answer: &impl std::fmt::Debug) -> LabError {
    AskError::Refused(format!("an answer to another question: {answer:?}")).into()
}
