//! Pods on a real kernel, under the lab's own API server, with a CNI plugin that takes notes.
//!
//! Needs root. Everything happens in namespaces of this program's own, processes included, so that
//! nothing is left however it ends; it is also what becomes its containers, as the lab's binary is.

#![expect(clippy::unwrap_used, reason = "test code outside of test functions")]

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube_rs::Client;
use kube_rs::api::{Api, DeleteParams, PostParams};
use libtest_mimic::{Arguments, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use seaway_lab::children::Children;
use seaway_lab::images::{echo, shell};
use seaway_lab::node::Context;
use seaway_lab::pod::sandbox::{Pause, Sandbox, Sharing};
use seaway_lab::pod::{Runner, Settings, cni, init};
use serde_json::{Value, json};

const INSIDE: &str = "SEAWAY_TEST_INSIDE";

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    match name.as_str() {
        init::ROLE => return init::run(),
        echo::ROLE => return echo::run(&args.collect::<Vec<_>>()),
        shell::ROLE => return shell::run(&args.collect::<Vec<_>>()),
        _ if std::env::var_os(INSIDE).is_none() => return go_inside(),
        _ => {}
    }
    prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let lab = Arc::new(runtime.block_on(Lab::start()));
    let handle = runtime.handle().clone();
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$({
                let (lab, handle) = (lab.clone(), handle.clone());
                Trial::test(stringify!($name), move || {
                    handle.block_on(async { tokio::spawn(async move { $name(&lab).await }).await })
                        .map_err(|error| error.to_string().into())
                })
            }),*]
        };
    }
    let trials = trials![
        pause_is_small_and_ends_when_asked,
        pause_buries_the_orphans_of_its_pod,
        plugins_are_run_in_order_and_undone_in_reverse,
        a_container_has_its_own_view_of_the_machine,
        a_crash_restarts_the_container_in_the_same_sandbox,
        a_lost_pause_gets_the_pod_a_new_sandbox,
        an_unknown_image_is_told_and_holds_up_nobody,
        init_containers_run_one_after_the_other,
        a_deleted_pod_leaves_nothing,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs this program again as process 1 of namespaces of its own.
fn go_inside() -> ExitCode {
    let all = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(all).expect("needs root");
    let mut again = Command::new("/proc/self/exe");
    again.arg0("pods").args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = again.status().unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

fn prepare() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    kernel::confine::raise_loopback().unwrap();
    nix::unistd::sethostname("node-1").unwrap();
}

/// Notes each call in a file of its own, numbered, and answers ADD with an address.
const PLUGIN: &str = r#"#!/bin/sh
me=$(basename "$0")
pod=$(echo "$CNI_ARGS" | sed 's/.*K8S_POD_NAME=\([^;]*\).*/\1/')
mkdir -p "/run/notes/$pod"
n=$(ls "/run/notes/$pod" | wc -l)
{ env | grep ^CNI_ | sort; echo; cat; } > "/run/notes/$pod/$n $CNI_COMMAND $me"
[ "$CNI_COMMAND" = ADD ] || exit 0
[ "$pod" != refused ] || { echo '{"code": 11, "msg": "not now", "details": "busy"}'; exit 1; }
echo '{"cniVersion": "1.0.0", "by": "'$me'", "interfaces": [{"name": "eth0", "sandbox": "'$CNI_NETNS'"}],
 "ips": [{"address": "10.244.1.2/24", "interface": 0}]}'
"#;

struct Lab {
    children: Children,
    client: Client,
    runner: Runner,
}

impl Lab {
    async fn start() -> Self {
        use std::os::unix::fs::PermissionsExt;
        for folder in ["/run/cni/bin", "/run/cni/net.d", "/run/notes"] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for name in ["first", "second"] {
            let path = format!("/run/cni/bin/{name}");
            std::fs::write(&path, PLUGIN).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let list = json!({"name": "net", "cniVersion": "1.0.0", "plugins": [
            {"type": "first", "mine": 1},
            {"type": "second", "capabilities": {"portMappings": true, "bandwidth": true}}]});
        std::fs::write("/run/cni/net.d/10-a.conflist", list.to_string()).unwrap();
        std::fs::write("/run/cni/net.d/20-b.conflist", "not json").unwrap();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let options = apiserver::Options { listeners: vec![listener], sans: Vec::new() };
        let server = apiserver::Server::new(options).unwrap();
        std::fs::write("/run/kubeconfig", server.kubeconfig(&url)).unwrap();
        tokio::spawn(async move { server.run(std::future::pending()).await });
        let access = kube::Access::Kubeconfig("/run/kubeconfig".into());
        let client = kube::connect(&access).await.unwrap();

        let children = Children::adopt().unwrap();
        let context = Context {
            name: "node-1".to_owned(),
            addrs: vec!["10.80.1.11".parse().unwrap()],
            kubeconfig: "/run/kubeconfig".into(),
            run_dir: "/run".into(),
            cni_conf_dir: "/run/cni/net.d".into(),
            cni_bin_dir: "/run/cni/bin".into(),
            children: children.clone(),
        };
        let runner = Runner::start(Arc::new(context), client.clone(), Settings::default()).unwrap();
        Self { children, client, runner }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn run(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("node-1");
        spec["terminationGracePeriodSeconds"] = json!(1);
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    /// The pod, once `is` holds for it.
    async fn eventually(&self, name: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        let mut last = None;
        for _ in 0..600 {
            let pod = self.pods().get_opt(name).await.unwrap();
            if let Some(pod) = pod.as_ref().filter(|pod| is(pod)) {
                return pod.clone();
            }
            last = pod;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("pod {name}: {}", serde_json::to_string_pretty(&last).unwrap());
    }

    async fn log(&self, pod: &str) -> Vec<String> {
        let found = self.runner.find("default", pod, None).await.unwrap();
        let text = std::fs::read_to_string(found.log).unwrap();
        let line = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
        text.lines().map(line).collect()
    }
}

async fn level(what: &str, is: impl Fn() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn container(pod: &Pod) -> ContainerStatus {
    let all = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
    all.and_then(|all| all.into_iter().next()).unwrap_or_default()
}

fn files(folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

fn shell_pod(script: &str) -> Value {
    json!({"restartPolicy": "Never",
        "containers": [{"name": "main", "image": "any", "command": ["sh", "-c", script]}]})
}

async fn sandbox(lab: &Lab, sharing: Sharing) -> Sandbox {
    let with = (std::path::Path::new("/run/test-netns"), &lab.children);
    Sandbox::start(&Pause::load().unwrap(), "host", sharing, Vec::new(), with).await.unwrap()
}

async fn pause_is_small_and_ends_when_asked(lab: &Lab) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sandbox = sandbox(lab, Sharing::default()).await;
        let status =
            || std::fs::read_to_string(format!("/proc/{}/status", sandbox.pause.pid)).unwrap();
        level("pause is itself", || status().contains("Name:\tpause")).await;
        let status = status();
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib <= 200, "{kib} KiB");
        sandbox.pause.signal(signal).unwrap();
        assert_eq!(sandbox.pause.wait().await.code(), Some(0));
        sandbox.stop().await;
    }
}

async fn pause_buries_the_orphans_of_its_pod(lab: &Lab) {
    let sharing = Sharing { one_pid: true, ..Sharing::default() };
    let mut sandbox = sandbox(lab, sharing).await;
    let children = lab.children.clone();
    let script = "for i in 1 2 3; do (sleep 0.1 &); done; sleep 60";
    let spawn = move || children.spawn(Command::new("sh").args(["-c", script]));
    let mut child = sandbox.enter(spawn).await.unwrap();
    let pause = sandbox.pause.pid.to_string();
    let of_pause = || {
        let stats = files("/proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
        let stat = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let parent = |stat: &String| {
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).map(str::to_owned)
        };
        stats
            .filter_map(|pid| stat(&pid))
            .filter(|stat| parent(stat).as_ref() == Some(&pause))
            .count()
    };
    level("three orphans", || of_pause() == 3).await;
    level("no orphan, and no zombie of one", || of_pause() == 0).await;
    sandbox.stop().await;
    // The end of process 1 is the end of all.
    assert!(!child.wait().await.success());
}

async fn plugins_are_run_in_order_and_undone_in_reverse(lab: &Lab) {
    let runtime = cni::Runtime {
        children: lab.children.clone(),
        conf_dir: "/run/cni/net.d".into(),
        bin_dir: "/run/cni/bin".into(),
        cache_dir: "/run/test-results".into(),
    };
    let ports = json!([{"hostPort": 80}]);
    let join = cni::Join {
        container_id: "abc".to_owned(),
        netns: "/run/netns/x".into(),
        args: vec![("IgnoreUnknown".into(), "1".into()), ("K8S_POD_NAME".into(), "chain".into())],
        capabilities: [("portMappings".to_owned(), ports.clone())].into_iter().collect(),
    };
    assert_eq!(
        runtime.add(&join).await.unwrap(),
        ["10.244.1.2".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(files("/run/test-results"), ["abc-eth0.json"]);
    runtime.check(&join).await.unwrap();
    runtime.del(&join).await.unwrap();
    assert!(files("/run/test-results").is_empty());
    runtime.del(&join).await.unwrap();
    let calls = files("/run/notes/chain");
    assert_eq!(
        calls,
        [
            "0 ADD first",
            "1 ADD second",
            "2 CHECK first",
            "3 CHECK second",
            "4 DEL second",
            "5 DEL first"
        ]
    );
    let note = |call: usize| {
        let text = std::fs::read_to_string(format!("/run/notes/chain/{}", calls[call])).unwrap();
        let (env, conf) = text.split_once("\n\n").unwrap();
        (env.to_owned(), serde_json::from_str::<Value>(conf).unwrap())
    };
    let (env, conf) = note(0);
    assert_eq!(
        env,
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=chain\nCNI_COMMAND=ADD\nCNI_CONTAINERID=abc\n\
         CNI_IFNAME=eth0\nCNI_NETNS=/run/netns/x\nCNI_PATH=/run/cni/bin"
    );
    assert_eq!(conf, json!({"type": "first", "mine": 1, "name": "net", "cniVersion": "1.0.0"}));
    let (_, conf) = note(1);
    assert_eq!(conf["prevResult"]["by"], "first");
    assert_eq!(conf["runtimeConfig"], json!({"portMappings": ports}));
    for (call, name) in calls.iter().enumerate().skip(2) {
        assert_eq!(note(call).1["prevResult"]["by"], "second", "{name}");
    }

    let refused = vec![("K8S_POD_NAME".to_owned(), "refused".to_owned())];
    let refused = cni::Join { container_id: "def".to_owned(), args: refused, ..join };
    let error = runtime.add(&refused).await.unwrap_err();
    assert_eq!(error.to_string(), "plugin type=\"first\" failed (ADD): not now; busy");
    runtime.del(&refused).await.unwrap();
    assert_eq!(files("/run/notes/refused"), ["0 ADD first", "1 DEL second", "2 DEL first"]);
}

async fn a_container_has_its_own_view_of_the_machine(lab: &Lab) {
    std::fs::write("/tmp/seaway-test-not-seen", "").ok();
    let script = "touch /x 2>/dev/null && echo root is writable; ls /tmp; touch /tmp/a && ls /tmp; \
        hostname; cat /etc/hostname; echo $$$$; ls /run; tail -1 /etc/hosts; echo $IP $A; pwd; \
        grep ^CapBnd /proc/self/status; grep ^nameserver /etc/resolv.conf; echo x 2>/dev/null \
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
        "a",
        "view",
        "view",
        "1",
        "10.244.1.2\tview",
        "10.244.1.2 <10.244.1.2>",
        "/usr",
        "CapBnd:\t00000000a80425fb",
        "nameserver 10.96.0.10",
        "read-only",
        "lo",
    ];
    assert_eq!(log[..expected.len()], expected, "{log:?}");
    level("its address is given back", || files("/run/notes/view").len() == 4).await;
}

async fn a_crash_restarts_the_container_in_the_same_sandbox(lab: &Lab) {
    let mut spec = shell_pod("exit 1");
    spec["restartPolicy"] = json!("Always");
    lab.run("crash", spec).await;
    let waits = |pod: &Pod| container(pod).state.and_then(|state| state.waiting?.reason);
    let loops = |pod: &Pod| waits(pod).as_deref() == Some("CrashLoopBackOff");
    let pod = lab.eventually("crash", loops).await;
    assert_eq!((container(&pod).restart_count, phase(&pod)), (1, "Running"));
    assert_eq!(files("/run/notes/crash"), ["0 ADD first", "1 ADD second"]);
}

async fn a_lost_pause_gets_the_pod_a_new_sandbox(lab: &Lab) {
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

async fn an_unknown_image_is_told_and_holds_up_nobody(lab: &Lab) {
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

async fn init_containers_run_one_after_the_other(lab: &Lab) {
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

async fn a_deleted_pod_leaves_nothing(lab: &Lab) {
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
    assert!(lab.runner.find("default", "gone", None).await.is_err());
}
