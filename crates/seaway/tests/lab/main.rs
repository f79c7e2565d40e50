//! Lab tests: whole nodes, real packets.
fn main() {}
