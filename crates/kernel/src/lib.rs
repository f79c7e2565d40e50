//! The edge to the kernel: network namespaces, rtnetlink, settings, and the mechanisms that make a
//! node's tables true.
//!
//! This is the one crate with `unsafe`; every block says why it is sound and why safe code won't do.

pub mod confine;
pub mod conntrack;
pub mod frames;
pub mod host;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod nflog;
pub mod nft;
pub mod place;
pub mod process;
pub mod socket;
pub mod sysctl;
pub mod terminal;
