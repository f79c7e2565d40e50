//! kernel

pub mod confine;
pub mod process;
