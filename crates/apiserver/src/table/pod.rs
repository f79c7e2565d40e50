//! Rows for pods.
use serde_json::{Value, json};

use super::{AGE, Column, NAME, age, items, name, text_or};
use crate::time;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    ("Ready", "string", false),
    ("Status", "string", false),
    ("Restarts", "string", false),
    AGE,
    ("IP", "string", true),
    ("Node", "string", true),
    ("Nominated Node", "string", true),
    ("Readiness Gates", "string", true),
];

pub(super) fn cells(pod: &Value) -> Vec<Value> {
    let status = &pod["status"];
    let statuses = items(&status["containerStatuses"]);
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let total = items(&pod["spec"]["containers"]).len();
    let address = status["podIPs"][0]["ip"].as_str().or(status["podIP"].as_str());
    vec![
        name(pod),
        json!(format!("{ready}/{total}")),
        json!(state(pod)),
        json!(restarts(pod)),
        age(pod),
        json!(address.filter(|address| !address.is_empty()).unwrap_or("<none>")),
        json!(text_or(&pod["spec"]["nodeName"], "<none>")),
        json!(text_or(&status["nominatedNodeName"], "<none>")),
        json!(gates(pod)),
    ]
}

/// The one word for a pod's state: its phase, unless a container or a deletion says more.
///
/// Source: pkg/printers/internalversion `printPod`.
fn state(pod: &Value) -> String {
    let status = &pod["status"];
    let phase = text_or(&status["phase"], "Unknown");
    let mut word = text_or(&status["reason"], &phase);
    let gated = items(&status["conditions"])
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut word);
    }
    let initializing = initializing(pod);
    match &initializing {
        Some(text) => word.clone_from(text),
        None => word = running(items(&status["containerStatuses"]), word, is_ready(pod)),
    }
    let deleted = pod["metadata"]["deletionTimestamp"].is_string();
    let lost = status["reason"] == "NodeLost";
    match (deleted, lost) {
        (true, true) => "Unknown".to_owned(),
        (true, false) if !matches!(phase.as_str(), "Failed" | "Succeeded") => {
            "Terminating".to_owned()
        }
        _ => word,
    }
}

fn is_ready(pod: &Value) -> bool {
    items(&pod["status"]["conditions"])
        .iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The word while init containers are still to be done.
fn initializing(pod: &Value) -> Option<String> {
    let containers = items(&pod["spec"]["initContainers"]);
    let is_sidecar = |name: &Value| {
        containers.iter().any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    for (n, status) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
        let terminated = &status["state"]["terminated"];
        let waiting = text_or(&status["state"]["waiting"]["reason"], "");
        if terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0 {
            continue;
        }
        if is_sidecar(&status["name"]) && status["started"] == true {
            continue;
        }
        return Some(if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{n}/{}", containers.len())
        });
    }
    None
}

fn ended(terminated: &Value) -> String {
    let reason = text_or(&terminated["reason"], "");
    match (reason.is_empty(), terminated["signal"].as_i64().unwrap_or(0)) {
        (false, _) => reason,
        (true, 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        (true, signal) => format!("Signal:{signal}"),
    }
}

/// The word of the first container that has one; a pod that is up again is running.
fn running(statuses: &[Value], mut word: String, ready: bool) -> String {
    let mut any_running = false;
    for status in statuses.iter().rev() {
        let state = &status["state"];
        let waiting = text_or(&state["waiting"]["reason"], "");
        if !waiting.is_empty() {
            word = waiting;
        } else if state["terminated"].is_object() {
            word = ended(&state["terminated"]);
        } else if status["ready"] == true && state["running"].is_object() {
            any_running = true;
        }
    }
    if word == "Completed" && any_running {
        word = if ready { "Running" } else { "NotReady" }.to_owned();
    }
    word
}

/// The number of restarts, and how long ago the newest was.
fn restarts(pod: &Value) -> String {
    let lists = ["initContainerStatuses", "containerStatuses"];
    let statuses = lists.iter().flat_map(|list| items(&pod["status"][list]));
    let (mut count, mut newest) = (0, None);
    for status in statuses {
        count += status["restartCount"].as_u64().unwrap_or(0);
        let finished = status["lastState"]["terminated"]["finishedAt"].as_str();
        newest = newest.max(finished.and_then(time::parse_rfc3339));
    }
    match newest.filter(|_| count > 0) {
        Some(then) => format!("{count} ({} ago)", time::human(time::now().saturating_sub(then))),
        None => count.to_string(),
    }
}

fn gates(pod: &Value) -> String {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = |gate: &&Value| {
        items(&pod["status"]["conditions"])
            .iter()
            .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(open).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_state_is_the_word_kubectl_users_know() {
        let cases = r#"
            fresh            | {"phase":"Pending"} | Pending
            creating         | {"phase":"Pending","containerStatuses":[{"state":{"waiting":{"reason":"ContainerCreating"}}}]} | ContainerCreating
            up               | {"phase":"Running","containerStatuses":[{"ready":true,"state":{"running":{}}}]} | Running
            crashing         | {"phase":"Running","containerStatuses":[{"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]} | CrashLoopBackOff
            done             | {"phase":"Succeeded","containerStatuses":[{"state":{"terminated":{"exitCode":0,"reason":"Completed"}}}]} | Completed
            one of two done  | {"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[{"state":{"terminated":{"reason":"Completed"}}},{"ready":true,"state":{"running":{}}}]} | Running
            failed           | {"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":3}}}]} | ExitCode:3
            killed           | {"phase":"Failed","containerStatuses":[{"state":{"terminated":{"exitCode":137,"signal":9}}}]} | Signal:9
            evicted          | {"phase":"Failed","reason":"Evicted"} | Evicted
            first init       | {"phase":"Pending","initContainerStatuses":[{"name":"i","state":{"running":{}}}]} | Init:0/2
            second init      | {"phase":"Pending","initContainerStatuses":[{"state":{"terminated":{"exitCode":0}}},{"state":{"waiting":{"reason":"PodInitializing"}}}]} | Init:1/2
            init failed      | {"phase":"Pending","initContainerStatuses":[{"state":{"terminated":{"exitCode":1,"reason":"Error"}}}]} | Init:Error
            gated            | {"phase":"Pending","conditions":[{"type":"PodScheduled","reason":"SchedulingGated"}]} | SchedulingGated"#;
        for line in cases.lines().skip(1) {
            let parts: Vec<&str> = line.split(" | ").collect();
            let status: Value = serde_json::from_str(parts[1]).unwrap();
            let pod = json!({"spec": {"initContainers": [{}, {}]}, "status": status});
            assert_eq!(state(&pod), parts[2], "{line}");
        }
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let pod = json!({"metadata": deleted, "status": {"phase": "Running"}});
        assert_eq!(state(&pod), "Terminating");
    }
}
