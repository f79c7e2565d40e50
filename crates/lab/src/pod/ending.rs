//! A pod's way down: asked to end, given time, killed, taken off the network, forgotten.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube_rs::api::{DeleteParams, Preconditions};
use nix::sys::signal::Signal;

use super::slot::Slot;
use super::start::chain;
use super::worker::{Next, Wanted, Worker};
use crate::events::Kind;

/// Time to end when neither the deletion nor the manifest says, in seconds.
const GRACE: i64 = 30;
/// Longest wait between two attempts to start or end a sandbox.
const LATEST: Duration = Duration::from_secs(10);
/// How soon a deletion that the API server did not take is tried again.
const DELETE_AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    /// Does the next thing towards the pod's end.
    pub(super) async fn end(&mut self, wanted: &Wanted) -> Next {
        let pod = &wanted.pod;
        let now = Instant::now();
        let until = now + grace(pod);
        let deadline = self.deadline.map_or(until, |deadline| deadline.min(until));
        if self.deadline.is_none() {
            self.ask_to_end(pod);
        }
        self.deadline = Some(deadline);
        if self.slots().any(Slot::runs) {
            if now < deadline {
                return Next::Look(Some(deadline));
            }
            self.slots().for_each(|slot| slot.signal(Signal::SIGKILL));
            return Next::Look(None);
        }
        if let Err(at) = self.leave(pod).await {
            return Next::Look(Some(at));
        }
        // Both are on a file system of the node's own, which is gone with the node at the latest.
        for folder in [self.folder(pod), self.log_dir(pod)] {
            drop(std::fs::remove_dir_all(folder));
        }
        if wanted.gone || (self.say(pod).await && self.forget(pod).await) {
            return Next::Done;
        }
        Next::Look(Some(now + DELETE_AGAIN))
    }

    /// Takes the pod off the network and ends its sandbox. `Err` says when to try again.
    pub(super) async fn leave(&mut self, pod: &Pod) -> Result<(), Instant> {
        if let Some(join) = &self.join
            && let Err(error) = self.node.cni.del(join).await
        {
            let message =
                format!("error killing pod: failed to destroy network: {}", chain(&error));
            self.node.events.tell(pod, None, Kind::Warning, "FailedKillPod", message);
            return Err(self.failed());
        }
        self.join = None;
        if let Some(mut sandbox) = self.sandbox.take() {
            sandbox.stop().await;
        }
        self.broken = false;
        Ok(())
    }
    /// Counts a failure of the sandbox; says when to try again.
    pub(super) fn failed(&mut self) -> Instant {
        let wait = Duration::from_millis(500 << self.failures.min(5)).min(LATEST);
        self.failures += 1;
        Instant::now() + wait
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.containers.iter().chain(&self.init)
    }

    fn ask_to_end(&self, pod: &Pod) {
        for slot in self.slots().filter(|slot| slot.runs()) {
            slot.signal(Signal::SIGTERM);
            let message = format!("Stopping container {}", slot.name);
            self.node.events.tell(pod, Some(&slot.name), Kind::Normal, "Killing", message);
        }
    }

    /// Removes the object for good; whether it is gone.
    async fn forget(&self, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let only_this = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(only_this);
        match self.api(pod).delete(name, &params).await {
            Ok(_) => true,
            Err(kube_rs::Error::Api(refused)) if refused.code == 404 || refused.code == 409 => true,
            Err(error) => {
                tracing::debug!("delete pod {name}: {error}");
                false
            }
        }
    }
}

fn grace(pod: &Pod) -> Duration {
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = pod.metadata.deletion_grace_period_seconds.or(own).unwrap_or(GRACE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
