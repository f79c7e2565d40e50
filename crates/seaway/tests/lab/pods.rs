//! Pods as their manifests describe them.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("pods_are_what_their_manifests_say", manifests_hold),
        test("echo_tells_every_client_its_own_address", echo),
    ]
}

/// One lab, many pods; each function below looks at one of them.
fn manifests_hold() {
    let lab = Lab::up(&["--nodes", "1"]);
    lab.apply(PODS);
    for pod in ["duo", "named"] {
        let wait = ["wait", "--for=condition=Ready", &format!("pod/{pod}"), "--timeout=30s"];
        success(&lab.kubectl(&wait)).unwrap_or_else(|why| panic!("{why}\n{}", lab.logs()));
    }
    containers_share_localhost_and_survive_each_other(&lab);
    init_containers_and_env_and_names(&lab);
    restart_policies(&lab);
    commands_pass_their_exit_code_on(&lab);
}

const PODS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {GREETING: ahoy}
---
apiVersion: v1
kind: Pod
metadata: {name: duo}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: seaway/echo}
  - {name: shell, image: seaway/shell}
---
apiVersion: v1
kind: Pod
metadata: {name: named, labels: {app: x}}
spec:
  hostname: db
  subdomain: peers
  terminationGracePeriodSeconds: 1
  hostAliases: [{ip: 192.0.2.9, hostnames: [elsewhere]}]
  initContainers:
  - {name: one, image: sh, command: [sh, -c, 'echo first; hostname']}
  - {name: two, image: sh, command: [sh, -c, 'echo second']}
  containers:
  - name: main
    image: sh
    command: [sh, -c, 'echo \"$GREETING $(NAME) $POD_IP $PLAIN\"; exec sleep 1000']
    envFrom: [{configMapRef: {name: words}}]
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: PLAIN, value: 'of $(NAME)'}
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  restartPolicy: Never
  containers: [{name: main, image: sh, command: [sh, -c, 'exit 3']}]
---
apiVersion: v1
kind: Pod
metadata: {name: done}
spec:
  restartPolicy: OnFailure
  containers: [{name: main, image: sh, command: [sh, -c, 'exit 0']}]
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  restartPolicy: OnFailure
  containers: [{name: main, image: sh, command: [sh, -c, 'exit 4']}]
";

/// Containers of a pod have one address and one localhost; one dies, the other goes on.
fn containers_share_localhost_and_survive_each_other(lab: &Lab) {
    let in_shell = |argv: &[&str]| {
        let mut command = lab.seaway(&["lab", "exec"]);
        command.args(["duo", "-c", "shell", "--"]).args(argv);
        command.output().expect("start lab exec")
    };
    let body = success(&in_shell(&["curl", "-sf", "http://127.0.0.1:8080/"])).expect("localhost");
    assert!(body.contains("127.0.0.1"), "{body}");
    let address = lab.pod_field("duo", "{.status.podIP}");
    let started = "{.status.containerStatuses[?(@.name==\"shell\")].state.running.startedAt}";
    let since = lab.pod_field("duo", started);
    let killed = lab.node("node-1", &["pkill", "-9", "-x", "-f", "seaway-echo"]);
    assert!(killed.status.success(), "{}", lab.told(&killed));
    let restarts = "{.status.containerStatuses[?(@.name==\"web\")].restartCount}";
    eventually("the container is back", || match lab.pod_field("duo", restarts).as_str() {
        "1" => Ok(()),
        other => Err(other.to_owned()),
    });
    eventually("it answers again", || {
        success(&in_shell(&["curl", "-sf", "http://127.0.0.1:8080/"]))
    });
    assert_eq!(lab.pod_field("duo", started), since, "the other container went on");
    assert_eq!(lab.pod_field("duo", "{.status.podIP}"), address);
}

fn init_containers_and_env_and_names(lab: &Lab) {
    let log = |container: &str| {
        let mut command = lab.seaway(&["lab", "logs"]);
        text(&command.args(["named", "-c", container]).output().expect("start lab logs"))
    };
    assert_eq!(log("one"), "first\ndb");
    assert_eq!(log("two"), "second");
    let address = lab.pod_field("named", "{.status.podIP}");
    assert_eq!(log("main"), format!("ahoy named {address} of named"));
    let hosts = text(&lab.exec("named", &["cat", "/etc/hosts"]));
    assert!(
        hosts.contains(&format!("{address}\tdb.peers.default.svc.cluster.local\tdb")),
        "{hosts}"
    );
    assert!(hosts.contains("192.0.2.9\telsewhere"), "{hosts}");
    assert_eq!(text(&lab.exec("named", &["hostname"])), "db");
    let resolver = text(&lab.exec("named", &["cat", "/etc/resolv.conf"]));
    assert!(resolver.contains("search default.svc.cluster.local svc.cluster.local"), "{resolver}");
}

fn restart_policies(lab: &Lab) {
    for (pod, phase, code) in [("never", "Failed", "3"), ("done", "Succeeded", "0")] {
        let state = "{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode} \
                     {.status.containerStatuses[0].restartCount}";
        eventually("the pod has ended", || match lab.pod_field(pod, state) {
            state if state == format!("{phase} {code} 0") => Ok(()),
            other => Err(other),
        });
    }
    eventually("it is started again", || {
        let restarts = lab.pod_field("again", "{.status.containerStatuses[0].restartCount}");
        if restarts.parse::<u32>().is_ok_and(|n| n > 0) { Ok(()) } else { Err(restarts) }
    });
}

fn commands_pass_their_exit_code_on(lab: &Lab) {
    let exit = ["sh", "-c", "echo out; echo err >&2; exit 7"];
    let output = lab.exec("named", &exit);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"out\n"[..], &b"err\n"[..])
    );
    assert_eq!(lab.node("node-1", &exit).status.code(), Some(7));
    assert_eq!(lab.client(&exit).status.code(), Some(7));
    assert_eq!(lab.exec("named", &["sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    let missing = lab.exec("nobody", &["true"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(!missing.status.success() && said.contains("default/nobody"), "{said}");
}

/// shell (node-1) ── server (node-2), host (node-2, on the node's network); each server sees the
/// address the client has, over HTTP, TCP and UDP, in both families.
fn echo() {
    let lab = Lab::up(&["--nodes", "2"]);
    let pod = |name: &str, node: &str, more: &str, image: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n{more}  \
             terminationGracePeriodSeconds: 1\n  containers: [{{name: main, image: {image}}}]\n"
        )
    };
    lab.apply(
        &[
            pod("shell", "node-1", "", "seaway/shell"),
            pod("server", "node-2", "", "seaway/echo"),
            pod("host", "node-2", "  hostNetwork: true\n", "seaway/echo"),
        ]
        .concat(),
    );
    let wait = ["wait", "--for=condition=Ready", "pod", "--all", "--timeout=30s"];
    success(&lab.kubectl(&wait)).expect("kubectl wait");
    for (family, name) in [(0, "4"), (1, "6")] {
        let ip = |pod: &str| lab.pod_field(pod, &format!("{{.status.podIPs[{family}].ip}}"));
        let client = ip("shell");
        let shown = |addr: &str| if name == "6" { format!("[{addr}]") } else { addr.to_owned() };
        for server in ["server", "host"] {
            let addr = ip(server);
            let url = format!("http://{}:8080/", shown(&addr));
            let body = success(&lab.exec("shell", &["curl", "-sf", "-m", "5", &url]));
            let body = body.unwrap_or_else(|why| panic!("{url}: {why}"));
            assert!(body.contains(&client), "{url}: {body}");
            for (transport, flags) in [("tcp", "-N"), ("udp", "-u")] {
                let ask = format!("echo hi | timeout 5 nc -{name} {flags} -w 1 {addr} 9090");
                let said = text(&lab.exec("shell", &["sh", "-c", &ask]));
                let start = format!("{transport} client={}:", shown(&client));
                assert!(
                    said.starts_with(&start) && said.ends_with("hi"),
                    "{transport} {addr}: {said:?}"
                );
            }
        }
    }
    assert_eq!(lab.pod_field("host", "{.status.podIP}"), "10.80.1.12");
}
