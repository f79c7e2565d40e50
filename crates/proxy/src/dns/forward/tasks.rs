//! Tasks that outlive whoever started them, and end with their owner.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Tasks on a runtime. They are ended when this is dropped.
#[derive(Debug)]
pub(super) struct Tasks {
    runtime: Handle,
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// None yet, on `runtime`.
    pub(super) fn new(runtime: Handle) -> Self {
        Tasks { runtime, running: Mutex::default() }
    }

    /// Starts one. Those that have ended are joined; one that panicked has said so.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn_on(task, &self.runtime);
    }
}
