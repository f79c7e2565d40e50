//! The loop: one thread that owns the journal and every place of the kernel.

mod report;
mod step;

pub use report::{FailureRow, Report, StepReport, Subject};
