//! Measures one agent in a large cluster that a real API server holds: how long it takes until it is
//! ready, what it keeps in memory, and how long it takes from a write until the kernel has it and DNS knows it. Run by
//! `cargo xtask bench services`; needs root and ip. Server and agent are processes of their own, this
//! one again with an argument, in a network namespace that goes with them.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod change;
mod objects;
mod process;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kube::{Access, Client};

use objects::Size;
use process::{AGENT, Process, SERVER};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Clusters to be measured in.
const SIZES: [Size; 3] = [
    Size { nodes: 100, services: 10_000, endpoints: 2, has_pods: false },
    Size { nodes: 1000, services: 10_000, endpoints: 5, has_pods: true },
    Size { nodes: 1000, services: 10_000, endpoints: 15, has_pods: false },
];

/// How often a kubelet writes its Node though nothing has changed (`nodeStatusReportFrequency`).
const BEAT: Duration = Duration::from_secs(300);

/// An agent that has just started writes down what it has heard.
const SETTLES: Duration = Duration::from_secs(20);

/// For how long it is measured what an agent does while nothing but that goes on.
const STEADY: Duration = Duration::from_secs(20);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(SERVER), Some(dir)) => process::serve(Path::new(&dir)),
        (Some(AGENT), Some(dir)) => process::agent(PathBuf::from(dir)),
        _ => measure_all(),
    }
}

fn measure_all() -> Outcome<()> {
    println!(
        "| nodes | Services x endpoints | pods | ready after | resident | CPU steady | written → answered, p50 / p99 | → in the kernel | → in DNS |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let dir = std::env::temp_dir().join(format!("seaway-bench-cluster-{}", std::process::id()));
    for size in SIZES {
        std::fs::create_dir_all(&dir)?;
        let measured = kernel::netns::Netns::fresh()?.run(|| measure(size, &dir))?;
        std::fs::remove_dir_all(&dir)?;
        measured?;
    }
    Ok(())
}

/// Prints a line for a cluster of this size.
fn measure(size: Size, dir: &Path) -> Outcome<()> {
    for line in [
        "link set lo up",
        "link add eth0 type veth peer name far",
        "addr add 192.0.2.1/16 dev eth0",
        "link set eth0 up",
        "link set far up",
    ] {
        let status = Command::new("ip").args(line.split(' ')).status()?;
        if !status.success() {
            return Err(format!("ip {line}: {status}").into());
        }
    }
    let _server = Process::start(SERVER, dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = runtime.block_on(connect(dir))?;
    runtime.block_on(objects::create(&client, size))?;

    let start = Instant::now();
    let agent = Process::start(AGENT, dir)?;
    agent.wait_until_ready()?;
    let ready = start.elapsed();
    std::thread::sleep(SETTLES);
    let cpu = agent.cpu()?;
    runtime.block_on(beat(&client, size))?;
    let steady = 100.0 * (agent.cpu()? - cpu).as_secs_f64() / STEADY.as_secs_f64();
    let resident = agent.resident()?;
    let changes = runtime.block_on(change::measure(&client, size))?;
    println!(
        "| {} | {} x {} | {} | {:.2} s | {resident} MiB | {steady:.1} % | {changes} |",
        size.nodes,
        size.services,
        size.endpoints,
        size.pods(),
        ready.as_secs_f64()
    );
    Ok(())
}

/// Lets all kubelets write their Nodes, each when its turn comes, for as long as is measured.
async fn beat(client: &Client, size: Size) -> Outcome<()> {
    let mut turns = tokio::time::interval(BEAT / size.nodes);
    let end = Instant::now() + STEADY;
    for at in 0.. {
        turns.tick().await;
        if Instant::now() > end {
            break;
        }
        objects::beat(client, at % size.nodes, at).await?;
    }
    Ok(())
}

async fn connect(dir: &Path) -> Outcome<Client> {
    Ok(kube::connect(&Access::Kubeconfig(dir.join(process::KUBECONFIG))).await?)
}
