//! kernel

pub mod process;
