//! What a pod's status says, worked out from what its containers do.
//!
//! Source: kubelet `getPhase`, `convertToAPIContainerStatuses`.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::conditions::conditions;
use super::restart::Policy;
use super::slot::Part;

/// What one container does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// It has not started, or not again.
    Waiting { reason: String, message: Option<String> },
    /// Since then.
    Running { since: Timestamp },
    /// It has ended.
    Ended(Ended),
}

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    /// Of that run.
    pub container_id: String,
    /// Its status; 128 and the signal if a signal ended it.
    pub code: i32,
    /// The signal.
    pub signal: Option<i32>,
    /// One word.
    pub reason: &'static str,
    /// More words, if there is more to say.
    pub message: Option<String>,
    /// When it started and ended.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
}

/// One container, as far as its status says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// As in the manifest.
    pub name: String,
    /// What it is there for.
    pub part: Part,
    /// As in the manifest.
    pub image: String,
    /// What that stands for; empty if it is not known.
    pub image_id: String,
    /// Id of its newest run; empty before the first.
    pub container_id: String,
    /// What it does.
    pub state: State,
    /// How its run before that ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it has started.
    pub started: bool,
}

/// A pod, as far as its status says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Situation {
    /// Init containers, sidecars among them, in order.
    pub init: Vec<View>,
    /// Containers, in order.
    pub containers: Vec<View>,
    /// Those that were added to look at the others.
    pub ephemeral: Vec<View>,
    /// Whether all init containers have done their work.
    pub initialized: bool,
    /// Whether the sandbox runs and is on the network.
    pub sandbox: bool,
    /// Why it has failed as a whole, whatever its containers did: reason and message.
    pub failed: Option<(&'static str, String)>,
    /// Its addresses.
    pub pod_ips: Vec<IpAddr>,
    /// Its node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// When this node first saw it.
    pub started: Option<Timestamp>,
}

/// The whole status of `pod` at `now`; conditions that others own, and the times of those that
/// have not changed, stay as they are.
pub(crate) fn status(pod: &Pod, situation: &Situation, now: Timestamp) -> PodStatus {
    let old = pod.status.as_ref();
    let policy = Policy::named(pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()));
    let phase = phase(policy, situation);
    let texts = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
    let (pod_ips, host_ips) = (texts(&situation.pod_ips), texts(&situation.host_ips));
    let all = |views: &[View]| -> Vec<_> { views.iter().map(container_status).collect() };
    let some = |views: &[View]| (!views.is_empty()).then(|| all(views));
    // Source: kubelet `SortedContainerStatuses`: by name; init containers as in the manifest.
    let mut containers = all(&situation.containers);
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    let failed = situation.failed.as_ref().filter(|_| phase == "Failed");
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: failed.map(|(reason, _)| (*reason).to_owned()),
        message: failed.map(|(_, message)| message.clone()),
        conditions: Some(conditions(pod, phase, situation, now)),
        container_statuses: Some(containers),
        init_container_statuses: some(&situation.init),
        ephemeral_container_statuses: some(&situation.ephemeral),
        host_ip: host_ips.first().cloned(),
        host_ips: Some(host_ips.into_iter().map(|ip| HostIP { ip }).collect()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: Some(pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: situation.started.map(Time),
        qos_class: old.and_then(|old| old.qos_class.clone()),
        ..Default::default()
    }
}

/// Source: kubelet `getPhase`.
pub(crate) fn phase(policy: Policy, situation: &Situation) -> &'static str {
    let failed = |view: &View| matches!(&view.state, State::Ended(end) if end.code != 0);
    let runs = |view: &View| matches!(view.state, State::Running { .. });
    let mut all = situation.init.iter().chain(&situation.containers);
    if situation.failed.is_some() && !all.any(runs) {
        return "Failed";
    }
    if !situation.initialized {
        let mut init = situation.init.iter().filter(|view| view.part == Part::Init);
        let gave_up = policy == Policy::Never && init.any(failed);
        return if gave_up { "Failed" } else { "Pending" };
    }
    let is_waiting =
        |view: &View| matches!(view.state, State::Waiting { .. }) && view.last.is_none();
    let views = &situation.containers;
    if views.iter().any(is_waiting) {
        return "Pending";
    }
    if policy == Policy::Always
        || situation.init.iter().any(runs)
        || views.iter().any(|view| !matches!(view.state, State::Ended(_)))
        || (policy == Policy::OnFailure && views.iter().any(failed))
    {
        return "Running";
    }
    if views.iter().any(failed) { "Failed" } else { "Succeeded" }
}

fn container_status(view: &View) -> ContainerStatus {
    let id = |id: &str| Some(format!("seaway://{id}")).filter(|_| !id.is_empty());
    let ended = |end: &Ended| ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: id(&end.container_id),
            exit_code: end.code,
            signal: end.signal,
            reason: Some(end.reason.to_owned()),
            message: end.message.clone(),
            started_at: Some(Time(end.from)),
            finished_at: Some(Time(end.to)),
        }),
        ..Default::default()
    };
    let state = match &view.state {
        State::Waiting { reason, message } => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.clone()),
                message: message.clone(),
            }),
            ..Default::default()
        },
        State::Running { since } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..Default::default()
        },
        State::Ended(end) => ended(end),
    };
    ContainerStatus {
        name: view.name.clone(),
        image: view.image.clone(),
        image_id: view.image_id.clone(),
        container_id: id(&view.container_id),
        ready: view.ready,
        started: Some(view.started),
        restart_count: view.restarts,
        state: Some(state),
        last_state: Some(view.last.as_ref().map(ended).unwrap_or_default()),
        ..Default::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::pod) fn view(state: &str) -> View {
        let end = |code| Ended {
            container_id: String::new(),
            code,
            signal: None,
            reason: "Completed",
            message: None,
            from: Timestamp::UNIX_EPOCH,
            to: Timestamp::UNIX_EPOCH,
        };
        let waiting = || State::Waiting { reason: "x".to_owned(), message: None };
        let (state, last) = match state {
            "waiting" => (waiting(), None),
            "crashed" => (waiting(), Some(end(1))),
            "running" => (State::Running { since: Timestamp::UNIX_EPOCH }, None),
            "ok" => (State::Ended(end(0)), None),
            _ => (State::Ended(end(1)), None),
        };
        let ready = matches!(state, State::Running { .. });
        View {
            name: "c".to_owned(),
            part: Part::Main,
            image: "i".to_owned(),
            image_id: String::new(),
            container_id: String::new(),
            state,
            last,
            restarts: 0,
            ready,
            started: ready,
        }
    }

    #[test]
    fn what_containers_do_decides_the_phase() {
        let cases = "
            all run                          | Always    | running running | Running
            one has yet to start             | Always    | running waiting | Pending
            a crash loop is running          | Always    | crashed         | Running
            an end is not the end            | Always    | ok              | Running
            all done                         | OnFailure | ok ok           | Succeeded
            one fails and will be tried again| OnFailure | ok bad          | Running
            one still runs                   | Never     | ok running      | Running
            one failed                       | Never     | ok bad          | Failed
            all done for good                | Never     | ok ok           | Succeeded";
        for line in cases.trim().lines() {
            let [claim, policy, states, expected] =
                line.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let containers = states.split(' ').map(view).collect();
            let situation = Situation { containers, initialized: true, ..Default::default() };
            assert_eq!(phase(Policy::named(Some(policy)), &situation), expected, "{claim}");
        }
    }

    #[test]
    fn a_pod_whose_init_container_failed_waits_or_has_failed() {
        for (policy, expected) in [("Never", "Failed"), ("OnFailure", "Pending")] {
            let init = vec![View { part: Part::Init, ..view("bad") }];
            let situation = Situation { init, ..Default::default() };
            assert_eq!(phase(Policy::named(Some(policy)), &situation), expected, "{policy}");
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_changes() {
        let later = Timestamp::UNIX_EPOCH + k8s_openapi::jiff::SignedDuration::from_secs(9);
        let mut situation = Situation {
            containers: vec![view("running")],
            initialized: true,
            sandbox: true,
            ..Default::default()
        };
        let mut pod = Pod::default();
        pod.status = Some(status(&pod, &situation, Timestamp::UNIX_EPOCH));
        situation.containers = vec![view("bad")];
        let status = status(&pod, &situation, later);
        let at = |kind: &str| {
            let all = status.conditions.as_ref().unwrap();
            let found = all.iter().find(|condition| condition.type_ == kind).unwrap();
            (found.status.clone(), found.last_transition_time.clone().unwrap().0)
        };
        assert_eq!(at("Ready"), ("False".to_owned(), later));
        assert_eq!(at("Initialized"), ("True".to_owned(), Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn a_pod_past_its_deadline_has_failed_once_nothing_runs() {
        let late = Some(("DeadlineExceeded", "too long".to_owned()));
        for (state, expected) in [("running", "Running"), ("bad", "Failed"), ("ok", "Failed")] {
            let situation = Situation {
                containers: vec![view(state)],
                initialized: true,
                failed: late.clone(),
                ..Default::default()
            };
            assert_eq!(phase(Policy::Always, &situation), expected, "{state}");
        }
    }
}
