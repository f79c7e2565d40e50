//! A pod's life: what its containers see, how they end and start again, what is left of it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube_rs::api::DeleteParams;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::{Lab, container, files, level, phase, shell_pod, waits};

pub(crate) async fn a_container_has_its_own_view_of_the_machine(lab: &Lab) {
    std::fs::write("/tmp/seaway-test-not-seen", "").ok();
    let script = "echo mine > /seaway-test-own && cat /seaway-test-own; ls /tmp; touch /tmp/a && ls /tmp; \
        hostname; cat /etc/hostname; echo $$$$; ls /run; tail -1 /etc/hosts; echo $IP $A; pwd; \
        grep -E '^(SigIgn|CapBnd)' /proc/self/status; grep ^nameserver /etc/resolv.conf; echo x 2>/dev/null \
        > /proc/sys/kernel/hostname || echo read-only; ls /sys/class/net; kill -0 2 2>&1; exit 3";
    let mut spec = shell_pod(script);
    let main = &mut spec["containers"][0];
    main["env"] = json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                         {"name": "A", "value": "<$(IP)>"}]);
    main["workingDir"] = json!("/usr");
    lab.run("view", spec).await;
    let pod = lab.eventually("view", |pod| phase(pod) == "Failed").await;
    std::fs::remove_file("/tmp/seaway-test-not-seen").ok();
    let end = container(&pod).state.unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (3, Some("Error")));
    let log = lab.log("view").await;
    let expected = [
        "mine",
        "a",
        "view",
        "view",
        "1",
        "secrets",
        "10.244.1.2\tview",
        "10.244.1.2 <10.244.1.2>",
        "/usr",
        "SigIgn:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "nameserver 10.96.0.10",
        "read-only",
        "lo",
    ];
    assert_eq!(log[..expected.len()], expected, "{log:?}");
    assert!(!std::path::Path::new("/seaway-test-own").exists());
    level("its address is given back", || files("/run/notes/view").len() == 4).await;
}

pub(crate) async fn a_crash_restarts_the_container_in_the_same_sandbox(lab: &Lab) {
    let mut spec = shell_pod("exit 1");
    spec["restartPolicy"] = json!("Always");
    lab.run("crash", spec).await;
    let loops = |pod: &Pod| waits(pod).as_deref() == Some("CrashLoopBackOff");
    let pod = lab.eventually("crash", loops).await;
    assert_eq!((container(&pod).restart_count, phase(&pod)), (1, "Running"));
    assert_eq!(files("/run/notes/crash"), ["0 ADD first", "1 ADD second"]);
}

pub(crate) async fn a_lost_pause_gets_the_pod_a_new_sandbox(lab: &Lab) {
    let containers = json!([{"name": "main", "image": "seaway/shell"}]);
    lab.run("lost", json!({"containers": containers})).await;
    lab.eventually("lost", |pod| container(pod).ready).await;
    let cached = || {
        files("/run/cni/results").into_iter().filter(|file| {
            let text =
                std::fs::read_to_string(format!("/run/cni/results/{file}")).unwrap_or_default();
            text.contains("\"lost\"")
        })
    };
    assert_eq!(cached().count(), 1);
    let (pid, _) = lab.runner.find("default", "lost", None).await.unwrap().process.unwrap();
    let netns = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let own = netns(pid);
    let is_pause = |pid: &String| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let link = std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        comm.trim() == "pause" && link.as_ref() == Some(&own)
    };
    let pause = files("/proc").into_iter().find(is_pause).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pause.parse().unwrap()), Signal::SIGKILL)
        .unwrap();
    let again =
        lab.eventually("lost", |pod| container(pod).restart_count == 1 && container(pod).ready);
    again.await;
    let (pid, _) = lab.runner.find("default", "lost", None).await.unwrap().process.unwrap();
    assert_ne!(netns(pid), own);
    let calls: Vec<_> =
        files("/run/notes/lost").into_iter().map(|call| call[2..].to_owned()).collect();
    assert_eq!(
        calls,
        ["ADD first", "ADD second", "DEL second", "DEL first", "ADD first", "ADD second"]
    );
}

pub(crate) async fn an_unknown_image_is_told_and_holds_up_nobody(lab: &Lab) {
    lab.run("unknown", json!({"containers": [{"name": "main", "image": "nginx"}]})).await;
    lab.run("known", json!({"containers": [{"name": "main", "image": "seaway/echo"}]})).await;
    lab.eventually("known", |pod| container(pod).ready && phase(pod) == "Running").await;
    let waiting = |pod: &Pod| container(pod).state.and_then(|state| state.waiting);
    let is_told =
        |pod: &Pod| waiting(pod).is_some_and(|w| w.reason.as_deref() == Some("ErrImagePull"));
    let pod = lab.eventually("unknown", is_told).await;
    let message = waiting(&pod).unwrap().message.unwrap();
    assert!(message.contains("seaway lab up --image nginx=COMMAND"), "{message}");
    assert_eq!(phase(&pod), "Pending");
}

pub(crate) async fn init_containers_run_one_after_the_other(lab: &Lab) {
    let init = |name: &str, script: &str| json!({"name": name, "image": "x", "command": ["sh", "-c", script]});
    let mut spec = shell_pod("exit 0");
    spec["initContainers"] = json!([init("one", "sleep 0.3"), init("two", "true")]);
    lab.run("init", spec).await;
    let pod = lab.eventually("init", |pod| phase(pod) == "Succeeded").await;
    let status = pod.status.unwrap();
    let ends: Vec<_> = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten()
        .map(|status| status.state.clone().unwrap().terminated.unwrap())
        .collect();
    assert_eq!(ends.len(), 3);
    for pair in ends.windows(2) {
        assert!(pair[0].finished_at <= pair[1].started_at, "{ends:?}");
    }
}

pub(crate) async fn a_container_can_be_added_to_look_at_another(lab: &Lab) {
    lab.run("looked", json!({"containers": [{"name": "main", "image": "seaway/shell"}]})).await;
    lab.eventually("looked", |pod| container(pod).ready).await;
    let look = |name: &str, target: serde_json::Value| {
        json!({"name": name, "image": "any", "targetContainerName": target,
            "command": ["sh", "-c", "tr '\\0' ' ' < /proc/1/cmdline; hostname"]})
    };
    let added = json!([look("close", json!("main")), look("apart", json!(null))]);
    let mut pod = lab.pods().get("looked").await.unwrap();
    pod.spec.as_mut().unwrap().ephemeral_containers = serde_json::from_value(added).unwrap();
    let params = kube_rs::api::PostParams::default();
    lab.pods().replace_ephemeral_containers("looked", &params, &pod).await.unwrap();
    let has_ended = |pod: &Pod| {
        let all = pod.status.as_ref().and_then(|it| it.ephemeral_container_statuses.clone());
        let all = all.unwrap_or_default();
        let ended = |one: &k8s_openapi::api::core::v1::ContainerStatus| {
            one.state.as_ref().is_some_and(|state| state.terminated.is_some())
        };
        all.len() == 2 && all.iter().all(ended)
    };
    let pod = lab.eventually("looked", has_ended).await;
    assert_eq!((phase(&pod), container(&pod).ready), ("Running", true));
    let said = lab.log_of("looked", Some("close")).await.join(" ");
    assert!(said.starts_with("seaway-shell") && said.ends_with("looked"), "{said}");
    let said = lab.log_of("looked", Some("apart")).await.join(" ");
    assert!(said.starts_with("sh -c") && said.ends_with("looked"), "{said}");
}

pub(crate) async fn a_deleted_pod_leaves_nothing(lab: &Lab) {
    // As process 1 a shell that does not trap SIGTERM does not end by it: it takes the kill.
    lab.run("gone", shell_pod("sleep 1000")).await;
    let pod = lab.eventually("gone", |pod| container(pod).ready).await;
    let uid = pod.metadata.uid.unwrap();
    let (pid, _) = lab.runner.find("default", "gone", None).await.unwrap().process.unwrap();
    let netns = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    lab.pods().delete("gone", &DeleteParams::default()).await.unwrap();
    for _ in 0..600 {
        if lab.pods().get_opt("gone").await.unwrap().is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(lab.pods().get_opt("gone").await.unwrap().is_none());
    let calls = files("/run/notes/gone");
    assert_eq!(calls, ["0 ADD first", "1 ADD second", "2 DEL second", "3 DEL first"]);
    assert!(!files("/run/pods").contains(&uid), "{:?}", files("/run/pods"));
    let holders = files("/proc").into_iter().filter(|pid| {
        std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|link| link == netns)
    });
    assert_eq!(holders.count(), 0);
    // The runner lets go of a pod after the API server has.
    for _ in 0..600 {
        if lab.runner.find("default", "gone", None).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the runner still knows the pod");
}
