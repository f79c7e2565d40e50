//! `cargo xtask bench`: scenarios that measure us against a named peer in the same run, as ratios.

mod cni;

use crate::run::Result;

/// One scenario: prints its table.
type Scenario = fn() -> Result;

/// Runs the scenario named, or lists them.
pub(crate) fn run(args: &[String]) -> Result {
    let known: [(&str, Scenario); 1] = [("cni", cni::run)];
    let list = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [name] = args else { return Err(format!("bench NAME; there are: {}", list())) };
    let scenario = known.iter().find(|(known, _)| known == name);
    scenario
        .ok_or_else(|| format!("no scenario {name:?}; there are: {}", list()))
        .and_then(|s| s.1())
}
