//! What it costs to compile policies and to write them to the kernel: all of them from nothing, then one change
//! after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compile::policy::{Judge, Learned, Matrix, resolve_all};
use kernel::nft::Nft;
use model::World;
use plan::Mechanism;

use crate::Outcome;
use crate::running::{Running, resident};
use crate::world::{LAST, LOCAL, pod, policy, scattered, space_row, wide, world};

/// How many changes one number is taken from.
const CHANGES: u32 = 200;

/// Prints a line for one size. Returns the time from nothing.
pub(crate) fn measure(policies: u32, pods: u32) -> Outcome<Duration> {
    let mut node = Running::start(world(policies, pods, LAST))?;
    let cold = node.pass()?;
    let roles = ["", "guest"];
    // Every change is one that policies see: a pod leaves its workload, and comes back.
    let relabel = |number: u32, at: u32| {
        let mut pod = pod(number, roles[at as usize % 2]);
        if at.is_multiple_of(2) {
            pod.labels = [("app", "none")].into_iter().collect();
        }
        Arc::new(pod)
    };
    let elsewhere = node.changes(CHANGES, |world, at| {
        let pod = relabel(LOCAL + at / 2, at);
        world.pods.insert(pod.name.clone(), pod);
    })?;
    let here = node.changes(CHANGES, |world, at| {
        let pod = relabel(at / 2, at);
        world.pods.insert(pod.name.clone(), pod);
    })?;
    let space = node.changes(CHANGES, |world, at| {
        let mut space = space_row(at / 2 % 100, "green");
        if at.is_multiple_of(2) {
            space.labels = [("color", "green")].into_iter().collect();
        }
        world.namespaces.insert(Arc::clone(&space.name), Arc::new(space));
    })?;
    let edit = node.changes(CHANGES, |world, at| {
        let policy = policy(at % policies, LAST, 9000 + u16::try_from(at).unwrap_or_default());
        world.policies.insert(policy.name.clone(), Arc::new(policy));
    })?;
    if Nft::open()?.observe()? != node.have.plan.nft {
        return Err("the kernel holds something else than was written".into());
    }
    println!(
        "| {policies}, {LOCAL} of {} | {} | {:.0?} | {:.0?} | {elsewhere} | {here} | {space} | {edit} | {} MiB |",
        node.world.pods.len(),
        node.have.plan.nft.len(),
        cold.compile,
        cold.program,
        resident()?
    );
    Ok(cold.compile + cold.program)
}

/// A policy with 100,000 ranges of addresses.
pub(crate) fn blocks() -> Outcome<()> {
    let mut node = Running::start(world(0, 0, LAST))?;
    node.pass()?;
    let policy = wide(100_000);
    node.world.policies.insert(policy.name.clone(), Arc::new(policy));
    let pass = node.pass()?;
    println!(
        "100,000 ranges of one policy: {:.0?} compiled, {:.0?} into the kernel ({} rows)",
        pass.compile,
        pass.program,
        node.have.plan.nft.len()
    );
    Ok(())
}

/// Who reaches whom, of a thousand pods: with 300 policies, and where each has one and ports of its own.
pub(crate) fn matrices() {
    matrix("300 policies", &world(300, 0, LAST));
    matrix("policies and ports of their own", &scattered());
}

fn matrix(what: &str, world: &World) {
    let learned = Learned::new();
    let start = Instant::now();
    let table = resolve_all(world);
    let judge = Judge { world, table: &table, learned: &learned };
    let matrix = Matrix::of(&judge, &world.namespaces.keys().cloned().collect());
    println!(
        "matrix of {LOCAL} pods, {what}: {:.0?}, {} ends, {} groups of ports",
        start.elapsed(),
        matrix.ends.len(),
        matrix.columns.len()
    );
}
