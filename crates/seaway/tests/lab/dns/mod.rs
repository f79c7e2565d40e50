//! Names with real packets: other people's resolvers ask nodes, and a name server outside knows the
//! rest of the world.
//!
//! The name of each test begins with the rules it holds (`dns31_dns38_…`, or `dns1_to_dns14_…`);
//! docs/dns-tests.md is made of these names.

mod attacks;
mod change;
mod clients;
mod dig;
mod elsewhere;
mod floods;
mod log;
mod outage;
mod path;
mod race;
mod stage;
mod trouble;
mod upstream;
mod vectors;
mod wire;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let stage = stage::Shared::default();
    [
        attacks::trials(),
        change::trials(),
        clients::trials(&stage),
        elsewhere::trials(&stage),
        floods::trials(),
        log::trials(),
        outage::trials(),
        path::trials(&stage),
        race::trials(&stage),
        trouble::trials(),
        vectors::trials(&stage),
        wire::trials(&stage),
    ]
    .into_iter()
    .flatten()
    .collect()
}
