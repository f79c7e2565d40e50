//! Policies with real packets: other people's suites, and what becomes of connections, pods and attackers
//! while policies change.
//!
//! The name of each test begins with the rules it holds (`npn21_…`); docs/policy-tests.md is made of these
//! names.

mod ask;
mod asking;
mod attacks;
mod cluster;
mod conditions;
mod drops;
mod flows;
mod lives;
mod names;
mod outside;
mod paths;
mod scene;
mod staged;
mod suites;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    let all = [
        asking::trials(),
        attacks::trials(),
        conditions::trials(),
        drops::trials(),
        flows::trials(),
        lives::trials(),
        names::trials(),
        paths::trials(),
        suites::trials(),
    ];
    all.into_iter().flatten().collect()
}
