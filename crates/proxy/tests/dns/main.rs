//! The DNS server at real sockets: what clients see, whoever they are and whatever they send.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allowed;
mod anything;
mod cookies;
mod floods;
mod handed;
mod log;
mod node;
mod others;
mod path;
mod streams;
mod wire_rules;
