//! What it costs to compile Services and to write them to the kernel: all of them from nothing, then
//! one change after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::nft::Nft;
use plan::Mechanism;

use crate::running::{Running, resident};
use crate::world::{slice, world};
use crate::{Outcome, in_namespace};

/// How many changes one number is taken from.
const CHANGES: u32 = 200;

/// Prints a line for one size. Returns the time from nothing.
pub(crate) fn measure(services: u32, endpoints: u32) -> Outcome<Duration> {
    in_namespace(|| {
        let mut node = Running::start(world(services, endpoints))?;
        let cold = node.pass()?;
        let exchanged = changes(&mut node, services, endpoints)?;
        let more = changes(&mut node, services, endpoints + 1)?;
        let start = Instant::now();
        let read = Nft::open()?.observe()?;
        let took = start.elapsed();
        if read != node.have.plan.nft {
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

/// Gives some of the Services so many endpoints, the last of them another than before: one Service after the
/// other, each with compiling. Returns p50 and p99.
fn changes(node: &mut Running, services: u32, endpoints: u32) -> Outcome<String> {
    node.changes(CHANGES, |world, at| {
        let slice = slice(at * (services / CHANGES), endpoints, 1);
        world.slices.insert(slice.key.clone(), Arc::new(slice));
    })
}
