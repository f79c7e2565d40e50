//! `cargo xtask bench dns`: the DNS server against Knot and NSD, in turns, each with the same 10,000 names
//! in a network namespace, asked by dnsperf.
//!
//! The figure is the CPU time of the server's process for each answer, as the scheduler counts it: it
//! holds on a machine that has something else to do, too, which answers per second does not.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::head;
use super::inside::part;
use crate::run::{Result, cargo, command, output, root, say, step};

/// Names with an address each, as `crates/proxy/examples/answer.rs` has them.
const SERVICES: u32 = 10_000;

/// How often each server is measured.
const TURNS: usize = 5;

/// How long it is asked, each time, in seconds.
const SECONDS: &str = "5";

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs this program again in a namespace of its own, and measures there.
pub(super) fn run() -> Result {
    if part().is_some() {
        return measure();
    }
    let build = ["build", "--release", "--quiet", "--workspace", "--example", "answer"];
    step("build", &mut cargo(&build))?;
    let me = std::env::current_exe().map_err(|e| format!("find this executable: {e}"))?;
    let mut inside = command("unshare", &["--net", "--", "env", "SEAWAY_BENCH_INSIDE=dns"]);
    step("measure", inside.arg(me).args(["bench", "dns"]))
}

/// A server: its name, where it answers, and how it is started.
struct Contestant {
    name: &'static str,
    addr: SocketAddr,
    start: Command,
}

/// What one turn gave.
struct Turn {
    answers: f64,
    lost: f64,
    per_second: f64,
    /// Microseconds of CPU for each answer.
    cpu: f64,
}

fn measure() -> Result {
    step("loopback", &mut command("ip", &["link", "set", "lo", "up"]))?;
    let scratch = root().join("target/bench-dns");
    fs::create_dir_all(&scratch).map_err(|e| format!("make {}: {e}", scratch.display()))?;
    let questions = write(&scratch, "questions", &questions()?)?;
    let contestants = [seaway()?, knot(&scratch)?, nsd(&scratch)?];
    let mut turns: Vec<Vec<Turn>> = contestants.iter().map(|_| Vec::new()).collect();
    let names = contestants.each_ref().map(|contestant| contestant.name);
    let mut contestants = contestants;
    for turn in 1..=TURNS {
        for (contestant, turns) in contestants.iter_mut().zip(&mut turns) {
            say(&format!("── {turn} of {TURNS}: {}", contestant.name));
            turns.push(contestant.measure(&questions)?);
        }
    }
    head("dns")?;
    say("| one thread, 10,000 names | CPU µs/answer p50 | best | answers/s p50 | lost | ratio |");
    say("|---|---|---|---|---|---|");
    let ours = median(&turns[0], |turn| turn.cpu);
    for (name, turns) in names.iter().zip(&turns) {
        let (cpu, per_second) = (median(turns, |turn| turn.cpu), median(turns, |t| t.per_second));
        let best = turns.iter().map(|turn| turn.cpu).fold(f64::INFINITY, f64::min);
        let lost: f64 = turns.iter().map(|turn| turn.lost).sum();
        let all: f64 = turns.iter().map(|turn| turn.answers + turn.lost).sum();
        let (share, ratio) = (100.0 * lost / all, ours / cpu);
        say(&format!(
            "| {name} | {cpu:.2} | {best:.2} | {per_second:.0} | {share:.2} % | {ratio:.2} |"
        ));
    }
    Ok(())
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    let mut all: Vec<f64> = turns.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A question for the address of each name, in an order that has nothing to do with theirs.
fn questions() -> Result<String> {
    let mut text = String::new();
    for i in 0..SERVICES {
        let i = i * 7919 % SERVICES;
        writeln!(text, "s-{i}.ns-{}.svc.cluster.local A", i % 100).map_err(|e| e.to_string())?;
    }
    Ok(text)
}

fn zone() -> Result<String> {
    let mut text = "$ORIGIN cluster.local.\n$TTL 5\n\
                    @ SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ NS ns.dns\nns.dns A 10.96.0.10\n"
        .to_owned();
    for i in 0..SERVICES {
        let [_, high, middle, low] = i.to_be_bytes();
        let (space, high) = (i % 100, 96 + high);
        writeln!(text, "s-{i}.ns-{space}.svc A 10.{high}.{middle}.{low}")
            .map_err(|e| e.to_string())?;
    }
    Ok(text)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|e| format!("write {}: {e}", path.display()))?;
    Ok(path)
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn seaway() -> Result<Contestant> {
    let addr = at(5301);
    let program = root().join("target/release/examples/answer");
    let program = program.to_str().ok_or("the tree's path is not UTF-8")?;
    let start = command("taskset", &["-c", "0", program, &addr.to_string(), "1"]);
    Ok(Contestant { name: "seaway", addr, start })
}

fn knot(scratch: &Path) -> Result<Contestant> {
    let addr = at(5302);
    write(scratch, "cluster.local.zone", &zone()?)?;
    let at = scratch.display();
    let settings = format!(
        "server:\n  rundir: {at}\n  listen: 127.0.0.1@5302\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\ndatabase:\n  storage: {at}\ntemplate:\n  - id: default\n    \
         storage: {at}\nzone:\n  - domain: cluster.local\n    file: cluster.local.zone\n"
    );
    let settings = write(scratch, "knot.conf", &settings)?;
    let mut start = command("taskset", &["-c", "0", "knotd", "-c"]);
    start.arg(settings);
    Ok(Contestant { name: "Knot", addr, start })
}

fn nsd(scratch: &Path) -> Result<Contestant> {
    let at = scratch.display();
    let settings = format!(
        "server:\n  ip-address: 127.0.0.1@5303\n  server-count: 1\n  username: \"\"\n  database: \"\"\n  \
         zonesdir: {at}\n  zonelistfile: {at}/nsd.zones\n  xfrdfile: {at}/nsd.xfrd\n  xfrdir: {at}\n  \
         pidfile: {at}/nsd.pid\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\nzone:\n  \
         name: cluster.local\n  zonefile: cluster.local.zone\n"
    );
    let settings = write(scratch, "nsd.conf", &settings)?;
    let mut start = command("taskset", &["-c", "0", "nsd", "-d", "-c"]);
    start.arg(settings);
    Ok(Contestant { name: "NSD", addr: self::at(5303), start })
}

impl Contestant {
    /// Starts the server, asks it, and ends it.
    fn measure(&mut self, questions: &Path) -> Result<Turn> {
        self.start.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = self.start.spawn().map_err(|e| format!("start {}: {e}", self.name))?;
        let turn = self.await_answer().and_then(|()| self.ask(&server, questions));
        let ended = end(&mut server).map_err(|e| format!("end {}: {e}", self.name));
        turn.and_then(|turn| ended.map(|()| turn))
    }

    /// Waits until the server knows its names.
    fn await_answer(&self) -> Result {
        let error = |e: std::io::Error| format!("ask {}: {e}", self.name);
        let socket = UdpSocket::bind(at(0)).map_err(error)?;
        socket.connect(self.addr).map_err(error)?;
        socket.set_read_timeout(Some(Duration::from_millis(100))).map_err(error)?;
        let mut query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        query.extend(b"\x03s-1\x04ns-1\x03svc\x07cluster\x05local\0\0\x01\0\x01");
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut answer = [0; 512];
            // As long as nobody listens, sending fails, too.
            let got = socket.send(&query).and_then(|_| socket.recv(&mut answer));
            if got.is_ok() && answer[7] == 1 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} does not answer", self.name))
    }

    fn ask(&self, server: &Child, questions: &Path) -> Result<Turn> {
        let before = cpu(server.id())?;
        let port = self.addr.port().to_string();
        let mut dnsperf =
            command("taskset", &["-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", &port]);
        dnsperf.args(["-l", SECONDS, "-c", "8", "-T", "1", "-q", "1000", "-d"]).arg(questions);
        let printed = output(&mut dnsperf)?;
        let spent = cpu(server.id())? - before;
        let text = String::from_utf8_lossy(&printed.stdout);
        let figure = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name));
            let word = line.and_then(|line| line.split_whitespace().next());
            let number = word.and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("dnsperf says no {name:?}:\n{text}"))
        };
        let answers = figure("Queries completed:")?;
        let (lost, per_second) = (figure("Queries lost:")?, figure("Queries per second:")?);
        Ok(Turn { answers, lost, per_second, cpu: spent * 1e6 / answers })
    }
}

/// Seconds of CPU that a process and its children have had.
fn cpu(process: u32) -> Result<f64> {
    let folder = PathBuf::from(format!("/proc/{process}/task"));
    let tasks = fs::read_dir(&folder).map_err(|e| format!("list {}: {e}", folder.display()))?;
    let mut all = 0.0;
    for task in tasks.flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos = read("schedstat").split_whitespace().next().and_then(|n| n.parse::<f64>().ok());
        all += nanos.unwrap_or(0.0) / 1e9;
        for child in read("children").split_whitespace().filter_map(|child| child.parse().ok()) {
            all += cpu(child)?;
        }
    }
    Ok(all)
}

/// Asks a server to end, and waits until it has.
fn end(server: &mut Child) -> std::io::Result<()> {
    Command::new("kill").arg(server.id().to_string()).status()?;
    server.wait().map(drop)
}
