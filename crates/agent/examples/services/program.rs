//! What it costs to compile Services and to write them to the kernel: all of them from nothing, then
//! one change after the other.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::{Compiler, Scope};
use kernel::nft::Nft;
use model::World;
use plan::{Mechanism, Plan, diff};

use crate::world::{slice, world};
use crate::{Outcome, in_namespace};

/// How many changes one number is taken from.
const CHANGES: u32 = 200;

/// Prints a line for one size. Returns the time from nothing.
pub(crate) fn measure(services: u32, endpoints: u32) -> Outcome<Duration> {
    in_namespace(|| {
        let mut node = Running::start(world(services, endpoints))?;
        let cold = node.pass()?;
        let exchanged = node.changes(services, endpoints)?;
        let more = node.changes(services, endpoints + 1)?;
        let start = Instant::now();
        let read = Nft::open()?.observe()?;
        let took = start.elapsed();
        if read != node.have.nft {
            return Err("the kernel holds something else than was written".into());
        }
        println!(
            "| {services} x {endpoints} | {} | {:.0?} | {:.0?} | {exchanged} | {more} | {took:.0?} | {} MiB |",
            read.len(),
            cold.compile,
            cold.program,
            resident()?
        );
        Ok(cold.compile + cold.program)
    })
}

/// What a pass took.
struct Pass {
    compile: Duration,
    program: Duration,
}

/// A node's agent as far as rules go.
pub(crate) struct Running {
    world: World,
    compiler: Compiler,
    nft: Nft,
    have: Plan,
}

impl Running {
    pub(crate) fn start(world: World) -> Outcome<Self> {
        let nft = Nft::open()?;
        Ok(Running { world, compiler: Compiler::default(), nft, have: Plan::default() })
    }

    /// Writes all of it.
    pub(crate) fn program(&mut self) -> Outcome<()> {
        self.pass().map(drop)
    }

    /// Compiles the World and writes what differs from the last plan.
    fn pass(&mut self) -> Outcome<Pass> {
        let start = Instant::now();
        let plan = self.compiler.compile(&self.world, &Scope::Node("a".into())).plan;
        let compile = start.elapsed();
        let start = Instant::now();
        let changes = diff(&self.have.nft, &plan.nft);
        if let Some(failure) = self.nft.apply(&changes).into_iter().next() {
            return Err(format!("{}: {}", failure.attempt, failure.cause).into());
        }
        self.have = plan;
        Ok(Pass { compile, program: start.elapsed() })
    }

    /// Gives some of the Services so many endpoints, the last of them another than before: one
    /// Service after the other, each with compiling. Returns p50 and p99.
    fn changes(&mut self, services: u32, endpoints: u32) -> Outcome<String> {
        let mut took = Vec::new();
        for at in 0..CHANGES {
            let slice = slice(at * (services / CHANGES), endpoints, 1);
            self.world.slices.insert(slice.key.clone(), Arc::new(slice));
            let pass = self.pass()?;
            took.push(pass.compile + pass.program);
        }
        took.sort_unstable();
        Ok(format!("{:.2?} / {:.2?}", took[took.len() / 2], took[took.len() * 99 / 100]))
    }
}

/// Memory of this process, in MiB.
fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("VmRSS")?.parse()?;
    Ok(kib >> 10)
}
