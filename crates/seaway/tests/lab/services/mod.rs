//! Services with real packets: who answers whom at which frontend, and whose address it sees.
//!
//! The name of each test begins with the rows it holds (`s21_s44_…`); docs/services-tests.md is made of
//! these names. Most tests are a lab with the same few pods ([`stage`]) and a table of clients,
//! frontends, answers and sources ([`table`]).

mod affinity;
mod ask;
mod choice;
mod endpoints;
mod flows;
mod frontends;
mod objects;
mod policies;
mod programming;
mod ranges;
mod refusals;
mod selection;
pub(crate) mod serve;
mod spread;
pub(crate) mod stage;
mod table;
mod types;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    [
        affinity::trials(),
        choice::trials(),
        flows::trials(),
        frontends::trials(),
        objects::trials(),
        policies::trials(),
        programming::trials(),
        ranges::trials(),
        refusals::trials(),
        selection::trials(),
        spread::trials(),
        types::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
