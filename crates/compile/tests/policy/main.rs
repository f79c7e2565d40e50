//! Who may speak with whom: the specifications' rows, other people's suites, and arbitrary worlds, in which
//! oracle and table are to agree.

mod agreement;
mod cluster;
mod dns;
mod following;
mod judge;
mod mistakes;
mod names;
mod namespaced;
mod numbers;
mod rows;
mod rows_mistakes;
mod stage;
mod suites;
mod traffic;
