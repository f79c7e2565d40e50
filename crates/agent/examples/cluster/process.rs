//! The API server and the agent, as processes.

use std::fs;
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use apiserver::{Options, Server};
use kube::Access;
use model::Config;
use seaway_agent::{Settings, run};
use wire::cni::Paths;

use crate::Outcome;

/// First argument of the processes.
pub(crate) const SERVER: &str = "server";
pub(crate) const AGENT: &str = "agent";

/// In the directory of the run, as soon as the server listens.
pub(crate) const KUBECONFIG: &str = "kubeconfig";

/// Where the agent answers.
const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 9100);

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves the API until it is killed.
pub(crate) fn serve(dir: &Path) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", listener.local_addr()?);
    let server = Server::new(Options { listeners: vec![listener], ..Options::default() })?;
    let written = dir.join("kubeconfig.new");
    fs::write(&written, server.kubeconfig(&url))?;
    fs::rename(written, dir.join(KUBECONFIG))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    Ok(runtime.block_on(server.run(pending()))?)
}

/// Runs the agent until it is killed.
pub(crate) fn agent(dir: PathBuf) -> Outcome<()> {
    Ok(run(Settings {
        domain_origin: "the default".to_owned(),
        config: Config { node: "node-0".into(), ..Config::default() },
        access: Access::Kubeconfig(dir.join(KUBECONFIG)),
        paths: Paths { run_dir: dir.join("run"), state_dir: dir.join("state") },
        cni_conf_dir: dir.join("conf"),
        cni_bin_dir: dir.join("bin"),
        dns_settings: None,
        metrics: Some(SocketAddr::from(METRICS)),
        health: None,
        acknowledge_drains: false,
        duties: false,
        makes_dns_service: false,
        pod_cidrs: seaway_agent::PodCidrs::Never,
    })?)
}

/// A process that ends with this value.
pub(crate) struct Process(Child);

impl Process {
    /// Starts it; the server, until it listens.
    pub(crate) fn start(which: &str, dir: &Path) -> Outcome<Self> {
        let child = Command::new(std::env::current_exe()?).arg(which).arg(dir).spawn()?;
        let mut process = Process(child);
        if which == SERVER {
            process.wait(|| dir.join(KUBECONFIG).exists())?;
        }
        Ok(process)
    }

    /// Waits until the agent says that it is ready.
    pub(crate) fn wait_until_ready(&self) -> Outcome<()> {
        let start = Instant::now();
        while !is_ready()? {
            if start.elapsed() > PATIENCE {
                return Err("the agent is not ready".into());
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn wait(&mut self, is_there: impl Fn() -> bool) -> Outcome<()> {
        let start = Instant::now();
        while !is_there() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("it ended: {status}").into());
            }
            if start.elapsed() > PATIENCE {
                return Err("it does not start".into());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Memory, in MiB.
    pub(crate) fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        Ok(kib.parse::<u64>()? >> 10)
    }

    /// Time of processors used so far.
    pub(crate) fn cpu(&self) -> Outcome<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id()))?;
        let mut nanoseconds = 0;
        for task in tasks {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split(' ').next().ok_or("an empty schedstat")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then the measurement has failed for a better reason.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn is_ready() -> Outcome<bool> {
    let mut stream = match TcpStream::connect(SocketAddr::from(METRICS)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(false),
        connected => connected?,
    };
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}
