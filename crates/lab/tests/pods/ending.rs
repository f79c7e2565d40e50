//! How containers and pods end.

use kube_rs::api::DeleteParams;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::{Lab, container, level, phase, shell_pod};

/// A container that notes in the volume `notes` when it starts and when it is asked to end.
fn noting(name: &str) -> Value {
    let script = format!(
        "trap 'echo {name} ends >> /notes/all; exit 0' TERM; echo {name} starts >> /notes/all; \
         sleep 1000 & wait"
    );
    json!({"name": name, "image": "any", "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "notes", "mountPath": "/notes"}]})
}

fn with_notes(folder: &str, containers: &Value) -> Value {
    let path = format!("/run/test-notes/{folder}");
    json!({"containers": containers, "terminationGracePeriodSeconds": 20,
        "volumes": [{"name": "notes", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}]})
}

fn notes(folder: &str) -> Vec<String> {
    let path = format!("/run/test-notes/{folder}/all");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

pub(crate) async fn a_container_is_asked_before_it_is_killed(lab: &Lab) {
    let mut one = noting("one");
    let hook = "sleep 0.5; echo hook >> /notes/all";
    one["lifecycle"] = json!({"preStop": {"exec": {"command": ["sh", "-c", hook]}}});
    lab.run("asks", with_notes("asks", &json!([one]))).await;
    level("it has started", || notes("asks") == ["one starts"]).await;
    lab.delete("asks", &DeleteParams::default()).await;
    assert_eq!(notes("asks"), ["one starts", "hook", "one ends"]);
    lab.told("asks", "Killing: Stopping container one").await;
}

pub(crate) async fn a_stubborn_container_is_killed_after_its_grace(lab: &Lab) {
    // As process 1 a shell that does not trap SIGTERM does not end by it.
    let mut spec = shell_pod("sleep 1000");
    spec["terminationGracePeriodSeconds"] = json!(3600);
    spec["containers"][0]["lifecycle"] = json!({"preStop": {"sleep": {"seconds": 3600}}});
    lab.run("stubborn", spec).await;
    let pod = lab.eventually("stubborn", |pod| container(pod).ready).await;
    lab.pods().delete("stubborn", &DeleteParams::default()).await.unwrap();
    lab.told("stubborn", "Killing: Stopping container main").await;
    let uid = pod.metadata.uid;
    assert!(lab.pods().get("stubborn").await.unwrap().metadata.uid == uid, "it has an hour");
    lab.delete("stubborn", &DeleteParams::default().grace_period(1)).await;
}

pub(crate) async fn sidecars_start_first_and_end_last(lab: &Lab) {
    let mut spec = with_notes("sidecars", &json!([noting("main")]));
    let sidecar = |name: &str| {
        let mut one = noting(name);
        one["restartPolicy"] = json!("Always");
        let started = format!("grep -q '{name} starts' /notes/all");
        one["startupProbe"] =
            json!({"exec": {"command": ["sh", "-c", started]}, "periodSeconds": 1});
        one
    };
    let mut init = noting("init");
    init["command"] = json!(["sh", "-c", "echo init runs >> /notes/all"]);
    spec["initContainers"] = json!([sidecar("first"), init, sidecar("second")]);
    lab.run("sidecars", spec).await;
    let started = ["first starts", "init runs", "second starts", "main starts"];
    level("all have started", || notes("sidecars") == started).await;
    let pod = lab.eventually("sidecars", |pod| container(pod).ready).await;
    let init = pod.status.unwrap().init_container_statuses.unwrap();
    let seen: Vec<_> = init.iter().map(|one| (one.started, one.ready)).collect();
    assert_eq!(seen, [(Some(true), true), (Some(false), true), (Some(true), true)]);
    lab.delete("sidecars", &DeleteParams::default()).await;
    assert_eq!(notes("sidecars")[4..], ["main ends", "second ends", "first ends"]);
}

pub(crate) async fn a_failed_post_start_hook_stops_the_container(lab: &Lab) {
    let mut spec = shell_pod("trap 'exit 0' TERM; sleep 1000 & wait");
    spec["restartPolicy"] = json!("Always");
    let hook = json!({"exec": {"command": ["sh", "-c", "echo no; exit 1"]}});
    spec["containers"][0]["lifecycle"] = json!({"postStart": hook});
    lab.run("hook", spec).await;
    lab.eventually("hook", |pod| container(pod).restart_count > 0).await;
    lab.told("hook", "FailedPostStartHook: PostStartHook failed").await;
    lab.told("hook", "Killing: FailedPostStartHook").await;
}

pub(crate) async fn last_words_are_told(lab: &Lab) {
    let mut spec = shell_pod("echo bye > /dev/termination-log; exit 2");
    let by_log = json!({"name": "log", "image": "any", "command": ["sh", "-c", "echo ouch; exit 2"],
        "terminationMessagePolicy": "FallbackToLogsOnError", "terminationMessagePath": "/tmp/words"});
    spec["containers"].as_array_mut().unwrap().push(by_log);
    lab.run("words", spec).await;
    let pod = lab.eventually("words", |pod| phase(pod) == "Failed").await;
    let all = pod.status.unwrap().container_statuses.unwrap();
    let words: Vec<_> = all
        .iter()
        .map(|one| {
            let end = one.state.clone().unwrap().terminated.unwrap();
            (one.name.as_str(), end.message.unwrap_or_default())
        })
        .collect();
    assert_eq!(words, [("log", "ouch\n".to_owned()), ("main", "bye\n".to_owned())]);
}

pub(crate) async fn a_pod_past_its_deadline_has_failed(lab: &Lab) {
    let mut spec = shell_pod("trap 'exit 0' TERM; sleep 1000 & wait");
    spec["activeDeadlineSeconds"] = json!(1);
    lab.run("deadline", spec).await;
    let pod = lab.eventually("deadline", |pod| phase(pod) == "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(status.container_statuses.unwrap()[0].state.as_ref().unwrap().terminated.is_some());
}

pub(crate) async fn a_new_pod_takes_the_name_of_one_that_was_forced_out(lab: &Lab) {
    lab.run("forced", shell_pod("sleep 1000")).await;
    let old = lab.eventually("forced", |pod| container(pod).ready).await.metadata.uid;
    let (pid, _) = lab.runner.find("default", "forced", None).await.unwrap().process.unwrap();
    lab.pods().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    lab.run("forced", shell_pod("sleep 1000")).await;
    let pod = lab.eventually("forced", |pod| container(pod).ready).await;
    assert_ne!(pod.metadata.uid, old);
    let is_alive =
        || nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None::<Signal>).is_ok();
    level("the old one has ended", || !is_alive()).await;
    assert!(lab.runner.find("default", "forced", None).await.unwrap().process.is_some());
    lab.delete("forced", &DeleteParams::default()).await;
}
