//! A lab that is up, for whoever wants to use it: tests, `seaway check`, the command line.

use std::io;
use std::path::PathBuf;

use crate::control::{AskError, ask};
use crate::directory::Directory;
use crate::enter::{Entrance, Namespaces};
use crate::node;
use crate::spec::{LabName, Spec};
use crate::supervisor::{Joined, Outside, Request};
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
    /// A container of a pod; the first one when `None`.
    Pod {
        /// `metadata.namespace`.
        namespace: String,
        /// `metadata.name`.
        name: String,
        /// Name of the container.
        container: Option<String>,
    },
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
    #[error("no node of lab {lab} runs pod {pod}{}", said(.reasons))]
    NoPod {
        /// `namespace/name`.
        pod: String,
        /// The lab.
        lab: LabName,
        /// What nodes that know the pod said.
        reasons: Vec<String>,
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
        let mut numbers: Vec<u32> = names
            .filter_map(|entry| topology::node_number(entry.file_name().to_str()?))
            .collect();
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
            Target::Pod { namespace, name, container } => {
                self.enter_pod(namespace, name, container.as_deref())
            }
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

    fn enter_outside(&self, outside: Outside) -> Result<Namespaces, LabError> {
        match ask(&self.directory.control_socket(), &Request::Enter(outside))? {
            (Joined::Entrance(entrance), fds) => Ok(Namespaces { entrance, fds }),
            (other, _) => Err(unexpected(&other)),
        }
    }

    fn enter_node(&self, name: &str) -> Result<Namespaces, LabError> {
        self.known(name)?;
        let socket = self.directory.node(name).control_socket();
        let (entrance, fds): (Entrance, _) = ask(&socket, &node::Request::Node)?;
        Ok(Namespaces { entrance, fds })
    }

    fn enter_pod(
        &self,
        namespace: &str,
        name: &str,
        container: Option<&str>,
    ) -> Result<Namespaces, LabError> {
        let request = node::Request::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            container: container.map(str::to_owned),
        };
        let mut reasons = Vec::new();
        for node in self.nodes() {
            match ask(&self.directory.node(&node).control_socket(), &request) {
                Ok((Some(entrance), fds)) => return Ok(Namespaces { entrance, fds }),
                // The pod is not there, or the node is dead.
                Ok((None, _)) | Err(AskError::NotUp { .. }) => {}
                Err(AskError::Refused(why)) => reasons.push(why),
                Err(other) => return Err(other.into()),
            }
        }
        Err(LabError::NoPod { pod: format!("{namespace}/{name}"), lab: self.name.clone(), reasons })
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

fn unexpected(answer: &Joined) -> LabError {
    AskError::Refused(format!("the supervisor answered {answer:?}")).into()
}

fn said(reasons: &[String]) -> String {
    reasons.iter().map(|why| format!(": {why}")).collect()
}
