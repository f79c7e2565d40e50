//! Measures what Services cost a node, in namespaces of its own (needs root, ip and nft): from the
//! World to the kernel, and for each connection. Run by `cargo xtask bench services`.

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

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut ours = None;
    println!(
        "| Services x endpoints | rows | compile | diff and program | exchanged, p50 / p99 | more, p50 / p99 | read back | resident |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (services, endpoints) in [(1000, 2), (10_000, 2), (50_000, 2), (5000, 50)] {
        let took = program::measure(services, endpoints)?;
        if (services, endpoints) == (10_000, 2) {
            ours = Some(took);
        }
    }
    println!();
    connect::measure()?;
    // Half a minute: its time grows with the square.
    let theirs = in_namespace(|| peer::program(&world::world(10_000, 2)))?;
    let ratio = ours.map_or(f64::NAN, |ours| ours.as_secs_f64() / theirs.as_secs_f64());
    println!(
        "\n10,000 x 2 as kube-proxy lays them out, by nft: {theirs:.1?}; ours is {ratio:.4} of it"
    );
    Ok(())
}

fn in_namespace<T: Send>(work: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
    Netns::fresh()?.run(work)?
}
