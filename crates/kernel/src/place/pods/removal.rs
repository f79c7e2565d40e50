//! Removing links without waiting for what nobody sees any more.
//!
//! A removal makes the link vanish within a few milliseconds, and then the kernel has its caller wait
//! some 20 ms until every processor has let go of it (`rcu_barrier` in `netdev_run_todo`). Nothing
//! follows from that wait: name, address and namespace are free before. So a thread for each removal
//! waits it out, and whoever asked goes on when the links are not listed any more.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use model::AttachmentKey;
use plan::Failure;

use super::{Cause, Write, failure, send};
use crate::netlink::{Error, Netlink};
use crate::netns::Netns;

/// How often it is looked whether the links are gone. The look itself waits for the kernel's lock,
/// and so for the removal.
const LOOK: Duration = Duration::from_millis(1);

/// Threads that wait for the kernel to let go of links.
#[derive(Default)]
pub(super) struct Removals(Vec<JoinHandle<()>>);

impl Removals {
    /// Sends `writes`, which remove the links of `keys`, inside `home`, and returns when they failed or
    /// `netlink` lists none of these links any more.
    pub(super) fn remove(
        &mut self,
        keys: &[&AttachmentKey],
        writes: Vec<Write<AttachmentKey>>,
        (netlink, home): (&mut Netlink, &Netns),
    ) -> Vec<Failure<AttachmentKey>> {
        let all = |cause: &str| -> Vec<Failure<AttachmentKey>> {
            let fail = |key: &&AttachmentKey| {
                failure((*key).clone(), format!("delete pod link {key}"), Cause::from(cause))
            };
            keys.iter().map(fail).collect()
        };
        let (reply, answer) = sync_channel(1);
        let home = home.clone();
        let removal = move || {
            let open = || -> Result<Netlink, Cause> {
                home.enter()?;
                Ok(Netlink::open()?)
            };
            let outcome = open().map(|mut netlink| send(&mut netlink, writes, Error::is_gone));
            // Nobody listens any more once the links are gone.
            drop(reply.send(outcome));
        };
        self.0.retain(|thread| !thread.is_finished());
        match thread::Builder::new().name("removal".to_owned()).spawn(removal) {
            Ok(thread) => self.0.push(thread),
            Err(error) => return all(&format!("start a thread: {error}")),
        }
        let mut is_gone = |key: &&AttachmentKey| matches!(netlink.link(&key.host_link()), Ok(None));
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(Ok(failures)) => return failures,
                Ok(Err(cause)) => return all(&cause.to_string()),
                Err(RecvTimeoutError::Disconnected) => return all("the removal panicked"),
                Err(RecvTimeoutError::Timeout) if keys.iter().all(&mut is_gone) => {
                    return Vec::new();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A panic was reported to whoever asked for the removal.
            let _reported = thread.join();
        }
    }
}
