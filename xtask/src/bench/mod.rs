//! `cargo xtask bench`: scenarios that measure us against a named peer in the same run, as ratios.

use crate::run::Result;

/// Runs the scenario named, or lists them.
pub(crate) fn run(args: &[String]) -> Result {
    let known: [(&str, fn() -> Result); 0] = [];
    let list = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [name] = args else { return Err(format!("bench NAME; there are: {}", list())) };
    let scenario = known.iter().find(|(known, _)| known == name);
    scenario
        .ok_or_else(|| format!("no scenario {name:?}; there are: {}", list()))
        .and_then(|s| s.1())
}
