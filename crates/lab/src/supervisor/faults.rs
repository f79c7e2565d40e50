//! Things that happen to machines and cables, on demand.

use nix::sys::signal::Signal;

use super::freezer;
use super::nodes::{Nodes, number_of};
use super::requests::Fault;
use crate::fault::CableState;
use crate::topology;

impl Nodes {
    /// Does what is asked.
    ///
    /// # Errors
    /// What is wrong, for the person who asked.
    pub(super) async fn inflict(&self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::Kill(node) => self.kill(&node).await,
            Fault::Pause(node) => self.pause(&node).await,
            Fault::Resume(node) => self.resume(&node).await,
            Fault::Cut(cable) => {
                let mut inner = self.inner.lock().await;
                told(inner.underlay.cut(&self.spec, &cable))
            }
            Fault::Impair(cable, impairment) => {
                let mut inner = self.inner.lock().await;
                told(inner.underlay.impair(&self.spec, &cable, impairment))
            }
            Fault::Heal(cable) => self.heal(cable).await,
        }
    }

    /// Every cable, with what is wrong with it.
    pub(super) async fn cables(&self) -> Vec<CableState> {
        self.inner.lock().await.underlay.cables(&self.spec)
    }

    /// Cuts a node's power: the cable is dead first, so nobody hears a last word; then every process
    /// is, and what was in memory. What is on its disk stays: logs, and the agent's ledger.
    async fn kill(&self, name: &str) -> Result<(), String> {
        let number = self.running(name).await?;
        let mut inner = self.inner.lock().await;
        told(inner.underlay.remove_node(&self.spec, number))?;
        if let Some(mut child) = inner.running.remove(&number) {
            child.signal(Signal::SIGKILL).map_err(|error| format!("kill {name}: {error}"))?;
            child.wait().await;
        }
        drop(inner);
        self.unmark_paused(name)?;
        let directory = self.directory.node(name);
        directory.forget_memory().map_err(|error| format!("empty the memory of {name}: {error}"))
    }

    /// Freezes a node: no frame of it passes any more, and none of its processes runs.
    async fn pause(&self, name: &str) -> Result<(), String> {
        let number = self.running(name).await?;
        let directory = self.directory.node(name);
        if directory.is_paused() {
            return Err(format!("{name} is paused already"));
        }
        let mut inner = self.inner.lock().await;
        std::fs::write(directory.pause_file(), "")
            .map_err(|error| format!("write {}: {error}", directory.pause_file().display()))?;
        told(inner.underlay.set_silent(&self.spec, number, true))?;
        let Some(child) = inner.running.get(&number) else { return Ok(()) };
        freezer::stop(child.pid).await.map_err(|error| format!("pause {name}: {error}"))
    }

    /// Has a paused node go on where it was.
    async fn resume(&self, name: &str) -> Result<(), String> {
        let number = self.running(name).await?;
        if !self.directory.node(name).is_paused() {
            return Err(format!("{name} is not paused"));
        }
        let mut inner = self.inner.lock().await;
        if let Some(child) = inner.running.get(&number) {
            freezer::go_on(child.pid).map_err(|error| format!("resume {name}: {error}"))?;
        }
        told(inner.underlay.set_silent(&self.spec, number, false))?;
        drop(inner);
        self.unmark_paused(name)
    }

    async fn heal(&self, cable: Option<String>) -> Result<(), String> {
        let mut inner = self.inner.lock().await;
        let names = match cable {
            Some(name) => vec![name],
            None => inner.underlay.cables(&self.spec).into_iter().map(|it| it.name).collect(),
        };
        names.iter().try_for_each(|name| told(inner.underlay.heal(&self.spec, name)))
    }

    /// The number of a node that runs.
    async fn running(&self, name: &str) -> Result<u32, String> {
        let number = number_of(name)?;
        if self.is_running(number).await {
            return Ok(number);
        }
        Err(format!("{} is not running", topology::node_name(number)))
    }

    pub(super) fn unmark_paused(&self, name: &str) -> Result<(), String> {
        let path = self.directory.node(name).pause_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(format!("remove {}: {error}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn told(outcome: Result<(), crate::host::HostError>) -> Result<(), String> {
    outcome.map_err(|error| model::chain(&error))
}
