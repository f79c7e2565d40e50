//! Deployments, StatefulSets, DaemonSets, Jobs and budgets, as people drive them with kubectl.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_deployment_rolls_out_and_back_and_restarts", deployment),
        test("a_stateful_set_has_its_pods_in_order_under_their_names", stateful_set),
        test("a_daemon_set_follows_nodes_that_join_and_leave", daemon_set),
        test("a_job_completes_and_a_failing_one_fails", job),
        test("a_drain_obeys_the_budget_and_pods_go_elsewhere", drain),
        test("pods_of_a_lost_node_are_replaced_elsewhere", lost_node),
        test("a_cron_job_makes_jobs", cron_job),
        test("an_autoscaler_keeps_to_its_bounds_and_says_why_it_does_no_more", autoscaler),
    ]
}

/// A workload of this kind, with what else its spec and its pods' spec say.
fn workload(kind: &str, name: &str, spec: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{terminationGracePeriodSeconds: 1, {pod} containers: [{{name: c, image: seaway/echo}}]}}\n"
    )
}

fn kubectl(lab: &Lab, words: &str) -> String {
    let words: Vec<_> = words.split_whitespace().collect();
    success(&lab.kubectl(&words))
        .unwrap_or_else(|why| panic!("kubectl {words:?}: {why}\n{}", lab.logs()))
}

fn autoscaler() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(&workload("Deployment", "web", "replicas: 1", ""));
    kubectl(&lab, "autoscale deployment/web --min=2 --max=3 --cpu-percent=80");
    kubectl(&lab, "wait deployment/web --for=jsonpath={.status.availableReplicas}=2 --timeout=60s");
    // It looks again after a while only.
    kubectl(&lab, "wait hpa/web --for=condition=ScalingActive=false --timeout=60s");
    let described = kubectl(&lab, "describe hpa web");
    for word in [
        "Current number of replicas below Spec.MinReplicas",
        "FailedGetResourceMetric",
        "the server could not find the requested resource (get pods.metrics.k8s.io)",
    ] {
        assert!(described.contains(word), "no {word:?} in:\n{described}");
    }
    assert!(kubectl(&lab, "get hpa web").contains("<unknown>/80%"));
}

fn deployment() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&workload("Deployment", "web", "replicas: 4", ""));
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    let images = || {
        kubectl(&lab, "get pods -l app=web -o jsonpath={.items[*].spec.containers[*].env[*].value}")
    };
    kubectl(&lab, "set env deployment/web COLOR=green");
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    eventually("only new pods are left", || {
        let images = images();
        if images == "green green green green" { Ok(()) } else { Err(images) }
    });
    assert_eq!(kubectl(&lab, "rollout history deployment/web").lines().count(), 4);
    kubectl(&lab, "rollout undo deployment/web");
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    eventually("the old template is back", || {
        if images().is_empty() { Ok(()) } else { Err(images()) }
    });
    kubectl(&lab, "rollout restart deployment/web");
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    kubectl(&lab, "rollout pause deployment/web");
    kubectl(&lab, "set env deployment/web COLOR=red");
    let sets = kubectl(&lab, "get replicasets -o name").lines().count();
    kubectl(&lab, "rollout resume deployment/web");
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    let after = kubectl(&lab, "get replicasets -o name").lines().count();
    assert_eq!((sets, after), (3, 4), "while it is paused nothing is rolled out");
    kubectl(&lab, "scale deployment/web --replicas=1");
    kubectl(&lab, "wait deployment/web --for=jsonpath={.status.replicas}=1 --timeout=60s");
    let described = kubectl(&lab, "describe deployment web");
    for word in [
        "NewReplicaSetAvailable",
        "ScalingReplicaSet",
        "1 desired | 1 updated | 1 total | 1 available",
    ] {
        assert!(described.contains(word), "no {word:?} in:\n{described}");
    }
    kubectl(&lab, "delete deployment web --timeout=30s");
    eventually("its pods are gone", || {
        let left = text(&lab.kubectl(&["get", "pods,replicasets", "-o", "name"]));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

fn stateful_set() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&workload("StatefulSet", "db", "replicas: 3\n  serviceName: db", ""));
    kubectl(&lab, "rollout status statefulset/db --timeout=60s");
    assert_eq!(text(&lab.exec("db-1", &["hostname"])), "db-1");
    // The start of each pod is told after the one before it was ready.
    let ready = |name: &str| {
        lab.pod_field(name, "{.status.conditions[?(@.type=='Ready')].lastTransitionTime}")
    };
    let made = |name: &str| lab.pod_field(name, "{.metadata.creationTimestamp}");
    for (before, after) in [("db-0", "db-1"), ("db-1", "db-2")] {
        assert!(ready(before) <= made(after), "{after} was made before {before} was ready");
    }
    kubectl(&lab, "set env statefulset/db COLOR=green");
    kubectl(&lab, "rollout status statefulset/db --timeout=60s");
    kubectl(&lab, "rollout undo statefulset/db");
    kubectl(&lab, "rollout status statefulset/db --timeout=60s");
    assert_eq!(
        kubectl(&lab, "get pods -o jsonpath={.items[*].spec.containers[*].env[*].value}"),
        ""
    );
    kubectl(&lab, "scale statefulset/db --replicas=1");
    eventually("the highest numbers are gone", || {
        let pods = kubectl(&lab, "get pods -o name");
        if pods == "pod/db-0" { Ok(()) } else { Err(pods) }
    });
}

fn daemon_set() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&workload("DaemonSet", "agent", "", ""));
    kubectl(&lab, "rollout status daemonset/agent --timeout=60s");
    let nodes = || {
        let names = kubectl(&lab, "get pods -o jsonpath={.items[*].spec.nodeName}");
        let mut names: Vec<_> = names.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(nodes(), "node-1 node-2");
    run(&lab, &["join"]);
    eventually("the new node has one", || {
        if nodes() == "node-1 node-2 node-3" { Ok(()) } else { Err(nodes()) }
    });
    kubectl(&lab, "rollout restart daemonset/agent");
    kubectl(&lab, "rollout status daemonset/agent --timeout=60s");
    run(&lab, &["leave", "node-3"]);
    eventually("its pod went with the node", || {
        if nodes() == "node-1 node-2" { Ok(()) } else { Err(nodes()) }
    });
}

fn job() {
    let lab = Lab::up(&["--nodes", "2"]);
    let job = |name: &str, spec: &str, command: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n  template:\n    spec:\n      \
             restartPolicy: Never\n      containers: [{{name: c, image: seaway/shell, command: [sh, -c, '{command}']}}]\n"
        )
    };
    let indexed = "completions: 3\n  parallelism: 2\n  completionMode: Indexed";
    lab.apply(&job("sum", indexed, "true"));
    kubectl(&lab, "wait job/sum --for=condition=complete --timeout=60s");
    assert_eq!(
        kubectl(&lab, "get job sum -o jsonpath={.status.succeeded}/{.status.completedIndexes}"),
        "3/0-2"
    );
    lab.apply(&job("bad", "backoffLimit: 0", "exit 3"));
    kubectl(&lab, "wait job/bad --for=condition=failed --timeout=60s");
    let reason = "get job bad -o jsonpath={.status.conditions[?(@.type==\"Failed\")].reason}/{.status.failed}";
    assert_eq!(kubectl(&lab, reason), "BackoffLimitExceeded/1");
    kubectl(&lab, "delete job sum bad --timeout=30s");
    eventually("nothing holds their pods", || {
        let left = text(&lab.kubectl(&["get", "pods", "-o", "name"]));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

fn drain() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&workload("Deployment", "web", "replicas: 2", ""));
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    kubectl(&lab, "create poddisruptionbudget web --selector=app=web --min-available=2");
    kubectl(&lab, "wait pdb/web --for=jsonpath={.status.currentHealthy}=2 --timeout=30s");
    let refused = lab.kubectl(&["drain", "node-1", "--timeout=3s"]);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        why.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{why}"
    );
    let patch = ["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":1}}"#];
    success(&lab.kubectl(&patch)).expect("patch the budget");
    kubectl(&lab, "drain node-1 --timeout=60s");
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    assert_eq!(
        kubectl(&lab, "get pods -l app=web -o jsonpath={.items[*].spec.nodeName}"),
        "node-2 node-2"
    );
    let described = kubectl(&lab, "describe node node-1");
    assert!(described.contains("node.kubernetes.io/unschedulable:NoSchedule"), "{described}");
    kubectl(&lab, "uncordon node-1");
    lab.check();
}

fn lost_node() {
    let lab = Lab::up(&["--nodes", "2"]);
    let soon = "tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, \
                tolerationSeconds: 1}],";
    lab.apply(&workload("Deployment", "web", "replicas: 2", soon));
    kubectl(&lab, "rollout status deployment/web --timeout=60s");
    run(&lab, &["kill-node", "node-2"]);
    eventually("both run on the node that is left", || {
        let running = kubectl(
            &lab,
            "get pods --field-selector=spec.nodeName=node-1,status.phase=Running -o name",
        );
        if running.lines().count() == 2 { Ok(()) } else { Err(running) }
    });
    let taints = kubectl(&lab, "get node node-2 -o jsonpath={.spec.taints[*].key}");
    assert!(taints.contains("node.kubernetes.io/unreachable"), "{taints}");
}

fn cron_job() {
    let lab = Lab::up(&["--nodes", "1"]);
    let words = "create cronjob tick --image=seaway/shell --schedule=*/1_*_*_*_* -- true";
    let words: Vec<_> = words.split(' ').map(|word| word.replace('_', " ")).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    success(&lab.kubectl(&words)).expect("create a CronJob");
    kubectl(&lab, "create job now --from=cronjob/tick");
    kubectl(&lab, "wait job/now --for=condition=complete --timeout=60s");
    kubectl(&lab, "wait cronjob/tick --for=jsonpath={.status.lastScheduleTime} --timeout=75s");
    kubectl(&lab, "delete cronjob tick --timeout=30s");
}

fn run(lab: &Lab, words: &[&str]) {
    let mut command = lab.seaway(&[&["lab"], words].concat());
    let output = command.output().expect("start seaway");
    assert!(output.status.success(), "{words:?}: {}", lab.told(&output));
}
