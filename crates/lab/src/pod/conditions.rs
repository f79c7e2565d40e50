//! The conditions of a pod.
//!
//! Source: kubelet `status/generate.go`.

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::slot::Part;
use super::status::Situation;

type Problem = Option<(&'static str, String)>;

/// Source: kubelet `GenerateContainersReadyCondition`.
fn unready(phase: &str, situation: &Situation) -> Problem {
    match phase {
        "Succeeded" => return Some(("PodCompleted", String::new())),
        "Failed" => return Some(("PodFailed", String::new())),
        _ => {}
    }
    let sidecars = situation.init.iter().filter(|view| view.part == Part::Sidecar);
    let open = sidecars.chain(&situation.containers).filter(|view| !view.ready);
    let names: Vec<_> = open.map(|view| view.name.as_str()).collect();
    (!names.is_empty()).then(|| {
        let message = format!("containers with unready status: [{}]", names.join(" "));
        ("ContainersNotReady", message)
    })
}

/// Source: kubelet `GeneratePodReadyCondition`; Pod API `readinessGates`.
fn closed_gates(pod: &Pod) -> Problem {
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    let told = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let closed = |gate: &str| {
        let condition = told.unwrap_or_default().iter().find(|one| one.type_ == gate);
        match condition {
            None => Some(format!(
                "corresponding condition of pod readiness gate {gate:?} does not exist."
            )),
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!(
                "the status of pod readiness gate {gate:?} is not \"True\", but {}",
                condition.status
            )),
        }
    };
    let gates = gates.unwrap_or_default().iter();
    let messages: Vec<_> = gates.filter_map(|gate| closed(&gate.condition_type)).collect();
    (!messages.is_empty()).then(|| ("ReadinessGatesNotReady", messages.join(", ")))
}

/// The conditions of `pod` in `phase` at `now`; those that others own, and the times of those that
/// have not changed, stay as they are.
pub(super) fn conditions(
    pod: &Pod,
    phase: &str,
    situation: &Situation,
    now: Timestamp,
) -> Vec<PodCondition> {
    let old = pod.status.as_ref();
    let unready = unready(phase, situation);
    let done = matches!(phase, "Succeeded" | "Failed");
    let uninitialized = (!situation.initialized && !done).then(|| {
        let open = situation.init.iter().filter(|view| match view.part {
            Part::Sidecar => !view.started,
            Part::Init | Part::Main | Part::Ephemeral => !view.ready,
        });
        let names: Vec<_> = open.map(|view| view.name.as_str()).collect();
        let message = format!("containers with incomplete status: [{}]", names.join(" "));
        ("ContainersNotInitialized", message)
    });
    let sandbox = (!situation.sandbox).then(|| ("", String::new()));
    let own = [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", uninitialized),
        ("Ready", unready.clone().or_else(|| closed_gates(pod))),
        ("ContainersReady", unready),
        ("PodScheduled", None),
    ];
    let is_own = |kind: &str| own.iter().any(|(own, _)| *own == kind);
    let others = old.and_then(|old| old.conditions.clone()).unwrap_or_default();
    let others: Vec<_> = others.into_iter().filter(|other| !is_own(&other.type_)).collect();
    let own = own.into_iter().map(|(kind, problem)| condition(old, kind, problem, now));
    own.chain(others).collect()
}

fn condition(
    old: Option<&PodStatus>,
    kind: &str,
    problem: Problem,
    now: Timestamp,
) -> PodCondition {
    let status = if problem.is_none() { "True" } else { "False" };
    let before = old.and_then(|old| old.conditions.as_ref()).into_iter().flatten();
    let before = before.into_iter().find(|other| other.type_ == kind && other.status == status);
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let (reason, message) = problem.unwrap_or_default();
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: text(reason.to_owned()),
        message: text(message),
        last_transition_time: before
            .and_then(|before| before.last_transition_time.clone())
            .or(Some(Time(now))),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::status::View;
    use crate::pod::status::status;
    use crate::pod::status::tests::view;

    #[test]
    fn readiness_takes_every_container_every_sidecar_and_every_gate() {
        let gated = serde_json::json!({
            "spec": {"containers": [], "readinessGates": [{"conditionType": "example.com/lb"}]},
            "status": {"conditions": []}});
        let plain: Pod = Pod::default();
        let gate = |told: serde_json::Value| -> Pod {
            let mut gated = gated.clone();
            gated["status"]["conditions"] = told;
            serde_json::from_value(gated).unwrap()
        };
        let told = |status: &str| serde_json::json!([{"type": "example.com/lb", "status": status}]);
        let unready = "containers with unready status: [c]";
        let cases = [
            (plain.clone(), "running", "running", "True ", "True"),
            (plain.clone(), "waiting", "running", &format!("False {unready}"), "False"),
            (plain, "running", "bad", &format!("False {unready}"), "False"),
            (
                gate(serde_json::json!([])),
                "running",
                "running",
                "False corresponding condition of pod readiness gate \"example.com/lb\" does not exist.",
                "True",
            ),
            (
                gate(told("False")),
                "running",
                "running",
                "False the status of pod readiness gate \"example.com/lb\" is not \"True\", but False",
                "True",
            ),
            (gate(told("True")), "running", "running", "True ", "True"),
        ];
        for (pod, sidecar, main, ready, containers_ready) in cases {
            let situation = Situation {
                init: vec![View { part: Part::Sidecar, ..view(sidecar) }],
                containers: vec![view(main)],
                initialized: true,
                sandbox: true,
                ..Default::default()
            };
            let status = status(&pod, &situation, Timestamp::UNIX_EPOCH);
            let all = status.conditions.unwrap();
            let find = |kind: &str| all.iter().find(|one| one.type_ == kind).unwrap();
            let found = find("Ready");
            let said = format!("{} {}", found.status, found.message.clone().unwrap_or_default());
            assert_eq!(said, ready, "{sidecar} {main}");
            assert_eq!(find("ContainersReady").status, containers_ready, "{sidecar} {main}");
        }
    }
}
