//! Packets and protocols without sockets: bytes in, values out, and back.

pub mod cni;
pub mod dns;
pub mod spdy;
