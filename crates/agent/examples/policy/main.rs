//! Measures what policies cost a node, in namespaces of its own (needs root, ip and nft): from the World to
//! the kernel, and for each connection. Run by `cargo xtask bench policy`.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod connect;
mod peer;
#[path = "../shared/peer_nft.rs"]
mod peer_nft;
mod program;
#[path = "../shared/running.rs"]
mod running;
#[path = "../shared/turns.rs"]
mod turns;
mod world;

use std::error::Error;

use kernel::netns::Netns;

use world::LAST;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut ours = None;
    println!(
        "| policies, local of all pods | rows | compile | diff and program | a pod elsewhere, p50 / p99 | a pod here | a namespace | a policy | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (policies, pods) in [(1000, 1000), (10_000, 1000), (10_000, 50_000)] {
        let took = in_namespace(|| program::measure(policies, pods))?;
        ours = ours.or(Some(took));
    }
    println!();
    in_namespace(program::blocks)?;
    program::matrices();
    println!();
    connect::measure()?;
    let theirs = in_namespace(|| peer::program(&world::world(1000, 1000, LAST)))?;
    let ratio = ours.map_or(f64::NAN, |ours| ours.as_secs_f64() / theirs.as_secs_f64());
    println!(
        "\n1,000 policies as kube-router lays them out, by nft: {theirs:.1?}; ours is {ratio:.4} of it"
    );
    Ok(())
}

fn in_namespace<T: Send>(work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    Netns::fresh()?.run(work)?
}
