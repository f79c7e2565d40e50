//! Who may speak with whom: the specifications' rows, other people's suites, and arbitrary worlds.

mod cluster;
mod names;
mod namespaced;
mod stage;
mod suites;
