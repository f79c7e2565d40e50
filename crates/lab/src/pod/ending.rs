//! A pod's way down: asked to end, given time, killed, taken off the network, forgotten.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube_rs::api::{DeleteParams, Preconditions};

use super::slot::{Part, Slot};
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
        self.deadline = Some(deadline);
        self.stop_all(pod, deadline);
        if self.slots().any(Slot::runs) {
            if !wanted.gone {
                // What has ended is told while the rest still runs; a later pass says the rest.
                self.say(pod).await;
            }
            return Next::Look(None);
        }
        if let Err(at) = self.leave(pod).await {
            return Next::Look(Some(at));
        }
        self.drop_volumes();
        // Both are on a file system of the node's own, which is gone with the node at the latest.
        for folder in [self.folder(pod), self.log_dir(pod)] {
            drop(std::fs::remove_dir_all(folder));
        }
        if wanted.gone || (self.say(pod).await && self.forget(pod).await) {
            return Next::Done;
        }
        Next::Look(Some(now + DELETE_AGAIN))
    }

    /// Stops every container that runs, by `until`: sidecars after what they are beside, the last
    /// that started first.
    ///
    /// Source: KEP-753, termination order.
    pub(super) fn stop_all(&mut self, pod: &Pod, until: Instant) {
        let mut beside = self.containers.iter().any(Slot::runs);
        let mut order: Vec<(String, bool)> = Vec::new();
        for slot in self.containers.iter().chain(&self.ephemeral).filter(|slot| slot.runs()) {
            order.push((slot.name.clone(), true));
        }
        for slot in self.init.iter().rev().filter(|slot| slot.runs()) {
            order.push((slot.name.clone(), slot.part != Part::Sidecar || !beside));
            beside = true;
        }
        for (name, has_turn) in order {
            if let Some(run) = self.slot(&name).and_then(|slot| slot.run.as_mut()) {
                run.vital.drain(..).for_each(|probe| probe.abort());
            }
            self.stop(pod, &name, None, until, has_turn);
        }
    }

    /// The pod has been active for as long as it may.
    pub(super) fn fail(&mut self, pod: &Pod) -> Option<Instant> {
        let why = "Pod was active on the node longer than the specified deadline".to_owned();
        if self.failed.is_none() {
            self.node.events.tell(pod, None, Kind::Normal, "DeadlineExceeded", why.clone());
            self.deadline = Some(Instant::now() + own_grace(pod));
        }
        self.failed = Some(("DeadlineExceeded", why));
        self.stop_all(pod, self.deadline.unwrap_or_else(Instant::now));
        None
    }

    /// Gives back what a pod that has ended by itself has of the node; says when to try again.
    pub(super) async fn finish(&mut self, pod: &Pod) -> Option<Instant> {
        if let Err(at) = self.leave(pod).await {
            return Some(at);
        }
        self.drop_volumes();
        None
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
    match pod.metadata.deletion_grace_period_seconds {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        None => own_grace(pod),
    }
}

/// The time a pod's containers have to end, as its manifest says.
pub(super) fn own_grace(pod: &Pod) -> Duration {
    let own = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    Duration::from_secs(u64::try_from(own.unwrap_or(GRACE)).unwrap_or(0))
}
