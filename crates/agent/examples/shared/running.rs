//! A node's agent as far as rules go: it compiles its World and writes what differs to the kernel.

use std::fs;
use std::time::{Duration, Instant};

use compile::{Compiled, Compiler, Scope};
use kernel::nft::Nft;
use model::World;
use plan::{Mechanism, diff};

use crate::Outcome;

/// What a pass took.
pub(crate) struct Pass {
    pub(crate) compile: Duration,
    pub(crate) program: Duration,
}

/// The agent of the node `a`.
pub(crate) struct Running {
    pub(crate) world: World,
    /// What the kernel has.
    pub(crate) have: Compiled,
    compiler: Compiler,
    nft: Nft,
}

impl Running {
    pub(crate) fn start(world: World) -> Outcome<Self> {
        let nft = Nft::open()?;
        Ok(Running { world, have: Compiled::default(), compiler: Compiler::default(), nft })
    }

    /// Compiles the World and writes what differs from the last plan.
    pub(crate) fn pass(&mut self) -> Outcome<Pass> {
        let start = Instant::now();
        let compiled = self.compiler.compile(&self.world, &Scope::Node("a".into()));
        let compile = start.elapsed();
        let start = Instant::now();
        let changes = diff(&self.have.plan.nft, &compiled.plan.nft);
        if let Some(failure) = self.nft.apply(&changes).into_iter().next() {
            return Err(format!("{}: {}", failure.attempt, failure.cause).into());
        }
        self.have = compiled;
        Ok(Pass { compile, program: start.elapsed() })
    }

    /// Passes after changes of the World, one after the other: p50 and p99 of each from the World to the kernel.
    pub(crate) fn changes(
        &mut self,
        count: u32,
        mut change: impl FnMut(&mut World, u32),
    ) -> Outcome<String> {
        let mut took = Vec::new();
        for at in 0..count {
            change(&mut self.world, at);
            let pass = self.pass()?;
            took.push(pass.compile + pass.program);
        }
        took.sort_unstable();
        Ok(format!("{:.2?} / {:.2?}", took[took.len() / 2], took[took.len() * 99 / 100]))
    }
}

/// Memory of this process, in MiB.
pub(crate) fn resident() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).ok_or("VmRSS")?.parse()?;
    Ok(kib >> 10)
}
