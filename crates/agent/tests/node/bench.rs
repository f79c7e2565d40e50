//! One node for one test: namespaces, uplink, API server, agents, pods.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use model::{Config, NodeName};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use seaway_agent::cni::plugin;
use seaway_agent::{Cleanup, Settings, cleanup, run};
use serde_json::{Value, json};
use wire::cni::{Environment, Paths};

use crate::api::Api;

/// Directory of the bench, in the environment of an agent's process.
const DIR: &str = "SEAWAY_TEST_AGENT_DIR";

/// Waiting is for a level, and bounded.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    dir: PathBuf,
    pub(crate) api: Api,
    logs: AtomicU32,
}

impl Bench {
    /// Moves the test's thread into namespaces of its own and makes an uplink and an API server there.
    pub(crate) fn new() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "needs root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("seaway-node-test-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("state")).unwrap();
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>).unwrap();
        let api = Api::start();
        let bench = Bench { dir, api, logs: AtomicU32::new(0) };
        for line in [
            "link set lo up",
            "link add eth0 type veth peer name far",
            "addr add 192.0.2.1/24 dev eth0",
            "link set eth0 up",
            "link set far up",
            "route add default via 192.0.2.254",
        ] {
            bench.run("ip", &line.split(' ').collect::<Vec<_>>());
        }
        bench.api.put("a", "10.244.1.0/24", "192.0.2.1");
        bench.api.put("b", "10.244.2.0/24", "192.0.2.2");
        bench.api.put("c", "10.244.3.0/24", "198.51.100.3");
        fs::write(bench.dir.join("kubeconfig"), bench.api.kubeconfig()).unwrap();
        bench
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn paths(&self) -> Paths {
        Paths { run_dir: self.dir.join("run"), state_dir: self.state_dir() }
    }

    /// Puts a disk of 128 KiB under `dir`.
    pub(crate) fn small_disk(&self, dir: impl AsRef<Path>) {
        let size = Some("size=128k");
        mount(Some("tmpfs"), dir.as_ref(), Some("tmpfs"), MsFlags::empty(), size).unwrap();
    }

    /// An agent that is ready.
    pub(crate) fn start(&self) -> Agent<'_> {
        let agent = self.start_unready();
        self.eventually("the agent is ready", || agent.get("/readyz").is_ok());
        agent
    }

    /// An agent that answers.
    pub(crate) fn start_unready(&self) -> Agent<'_> {
        let agent = self.spawn();
        self.eventually("the agent answers", || agent.get("/healthz").is_ok());
        agent
    }

    /// Puts another agent in the place of `agent`, which ends.
    pub(crate) fn succeed<'a>(&'a self, agent: &mut Agent<'a>) {
        let next = self.spawn();
        self.eventually("the next agent has taken over", || next.is_in_charge());
        std::mem::replace(agent, next).end();
    }

    /// An agent that has just started.
    pub(crate) fn spawn(&self) -> Agent<'_> {
        let log = self.log(self.logs.fetch_add(1, Ordering::Relaxed) + 1);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "agent_process", "--nocapture"])
            .env(DIR, &self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Agent { bench: self, child: Mutex::new(child) }
    }

    pub(crate) fn cleanup(&self) {
        let left = cleanup(&Cleanup {
            paths: self.paths(),
            cni_conf_dir: self.dir.join("conf"),
            cni_bin_dir: self.dir.join("bin"),
            ledger: true,
            cluster: None,
        });
        let left = left.unwrap();
        assert!(left.is_empty(), "{left:?}");
        for gone in ["run", "state/ledger", "conf/05-seaway.conflist", "bin/seaway-cni"] {
            assert!(!self.dir.join(gone).exists(), "{gone}");
        }
    }

    pub(crate) fn pod(&self) -> Pod {
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
        let pod = Pod { child };
        self.eventually("the pod has a namespace", || {
            fs::read_link(pod.netns()).is_ok_and(|there| there != ours)
        });
        pod
    }

    /// Asks whichever agent answers at the node's socket.
    pub(crate) fn add(&self, id: &str, pod: &Pod) -> Result<Value, String> {
        let text = self.cni("ADD", id, &pod.netns(), json!({}))?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// As [`Bench::add`].
    pub(crate) fn del(&self, id: &str) -> Result<(), String> {
        self.cni("DEL", id, Path::new(""), json!({})).map(drop)
    }

    fn cni(&self, command: &str, id: &str, netns: &Path, more: Value) -> Result<String, String> {
        let Paths { run_dir, state_dir } = self.paths();
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "seaway", "type": "seaway-cni",
            "runDir": run_dir, "stateDir": state_dir,
        });
        conf.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let environment = Environment {
            command: command.to_owned(),
            container_id: id.into(),
            netns: netns.display().to_string(),
            ifname: "eth0".to_owned(),
            args: String::new(),
        };
        let reply = plugin::run(&environment, conf.to_string().as_bytes());
        if reply.success { Ok(reply.stdout) } else { Err(reply.stdout) }
    }

    /// Runs a tool in the node's namespace.
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> String {
        output(Command::new(tool).args(arguments))
    }

    /// Everything a pod or an agent could leave behind. Counters are left out.
    pub(crate) fn state(&self) -> String {
        let links = self.run("ip", &["-o", "link"]);
        let links: Vec<String> = links.lines().map(steady).collect();
        [
            links.join("\n"),
            self.run("ip", &["route", "show", "table", "all", "proto", "83"]),
            self.run("ip", &["rule"]),
            self.run("ip", &["neigh", "show", "nud", "permanent"]),
            self.tables(),
        ]
        .join("\n")
    }

    /// The tables of nftables, in whatever order they were made; without the one that is an agent's as
    /// long as it lives.
    fn tables(&self) -> String {
        let all = self.run("nft", &["list", "tables"]);
        let mut names: Vec<&str> = all.lines().filter(|name| !name.ends_with("-dns")).collect();
        names.sort_unstable();
        names.iter().map(|name| self.run("nft", &["-s", &format!("list {name}")])).collect()
    }

    pub(crate) fn eventually(&self, what: &str, mut level: impl FnMut() -> bool) {
        let start = Instant::now();
        while !level() {
            assert!(start.elapsed() < PATIENCE, "not so: {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn logs(&self) -> String {
        format!("{}\n{}", self.state(), self.said_by(self.logs.load(Ordering::Relaxed)))
    }

    /// What the agent that was started as this one, from 1 on, has said so far.
    pub(crate) fn said_by(&self, number: u32) -> String {
        fs::read_to_string(self.log(number)).unwrap_or_default()
    }

    fn log(&self, number: u32) -> PathBuf {
        self.dir.join(format!("agent-{number}.log"))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Mounts of this namespace go with the thread.
            nix::mount::umount(&self.state_dir()).ok();
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// A link without its index, and without what comes by itself: flags and operational state.
fn steady(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let kept = words.iter().enumerate().filter(|(at, word)| {
        let is_state = **word == "state" || (*at > 0 && words[at - 1] == "state");
        !is_state && !word.starts_with('<')
    });
    kept.map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) struct Pod {
    child: Child,
}

impl Pod {
    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.child.id()).into()
    }

    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> String {
        let netns = format!("--net={}", self.netns().display());
        output(Command::new("nsenter").arg(netns).arg(tool).args(arguments))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) struct Agent<'a> {
    bench: &'a Bench,
    child: Mutex<Child>,
}

impl Agent<'_> {
    /// Kills it as a crash would.
    pub(crate) fn kill(self) {
        self.kill_now();
    }

    pub(crate) fn kill_now(&self) {
        let mut child = self.child.lock().unwrap();
        drop(child.kill());
        child.wait().unwrap();
    }

    /// Ends it as it is ended in a planned way.
    pub(crate) fn end(self) {
        let mut child = self.child.lock().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Whether it is this one that answers at the socket.
    pub(crate) fn is_in_charge(&self) -> bool {
        let socket = self.bench.paths().run_dir.join("agent.sock");
        let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
        let peer = getsockopt(&stream, PeerCredentials).unwrap();
        u32::try_from(peer.pid()) == Ok(self.pid())
    }

    pub(crate) fn add(&self, id: &str, pod: &Pod) -> Result<Value, String> {
        self.bench.add(id, pod)
    }

    pub(crate) fn check(&self, id: &str, pod: &Pod, previous: &Value) -> Result<String, String> {
        self.bench.cni("CHECK", id, &pod.netns(), json!({"prevResult": previous}))
    }

    pub(crate) fn del(&self, id: &str) -> Result<(), String> {
        self.bench.del(id)
    }

    /// Removes every attachment but those of `kept`.
    pub(crate) fn gc(&self, kept: &[&str]) -> Result<(), String> {
        let kept: Vec<Value> =
            kept.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
        let keep = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": kept});
        self.bench.cni("GC", "", Path::new(""), keep).map(drop)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    pub(crate) fn dump(&self, what: &str) -> String {
        self.get(&format!("/dump/{what}")).unwrap()
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.get("/dump/report?o=json").unwrap()).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Result<String, String> {
        use std::io::{Read, Write};
        let socket = self.bench.paths().run_dir.join("agent.sock");
        let ask = || -> std::io::Result<String> {
            let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = ask().map_err(|error| error.to_string())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(text.clone())?;
        if head.contains(" 200 ") { Ok(body.to_owned()) } else { Err(text) }
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        self.kill_now();
    }
}

/// Runs the agent when this process was started for that.
pub(crate) fn run_agent_if_asked() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let settings = Settings {
        config: Config { node: NodeName::from("a"), ..Config::default() },
        access: kube::Access::Kubeconfig(dir.join("kubeconfig")),
        paths: Paths { run_dir: dir.join("run"), state_dir: dir.join("state") },
        cni_conf_dir: dir.join("conf"),
        cni_bin_dir: dir.join("bin"),
        dns_settings: None,
        metrics: None,
        health: None,
        domain_origin: "the default".to_owned(),
        acknowledge_drains: false,
        duties: false,
        makes_dns_service: false,
        pod_cidrs: seaway_agent::PodCidrs::Never,
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    run(settings).unwrap();
}
