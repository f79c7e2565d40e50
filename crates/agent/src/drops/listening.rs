//! The thread that hears of dropped packets.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use compile::policy::{Ending, LOG_GROUP, Way};
use kernel::nflog::{Group, GroupError, Logged};
use model::chain;

use super::{Dropped, Drops};
use crate::features::shows_drops;
use crate::reconcile::since_1970;
use crate::shown::Shown;

/// How often the end of the agent is noticed, and how long it is waited before the next attempt.
const ROUND: Duration = Duration::from_secs(1);

/// After so many attempts it is not an agent that has just handed over who still listens.
const PATIENCE: u32 = 60;

/// The thread; it ends with this value.
#[derive(Debug)]
pub(crate) struct Listening {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Starts to listen in the network namespace of this thread; not where the kernel can't show packets.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(shown: &Arc<Shown>, drops: &Drops) -> io::Result<Option<Self>> {
        if let Err(why) = shows_drops() {
            tracing::warn!("packets that policies drop are counted and not named: {why}");
            return Ok(None);
        }
        let ends = Arc::new(AtomicBool::new(false));
        let ear = Ear { shown: Arc::clone(shown), drops: drops.clone() };
        let until = Arc::clone(&ends);
        let thread = std::thread::Builder::new().name("drops".to_owned());
        let thread = thread.spawn(move || ear.listen(&until))?;
        Ok(Some(Listening { ends, thread: Some(thread) }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Ear {
    shown: Arc<Shown>,
    drops: Drops,
}

impl Ear {
    /// Says once what keeps it from listening, and tries again.
    fn listen(self, ends: &AtomicBool) {
        let mut attempts = 0;
        while !ends.load(Ordering::Relaxed) {
            match Group::open(LOG_GROUP) {
                Ok(group) => {
                    attempts = 0;
                    self.hear(group, ends);
                }
                Err(error) => {
                    attempts += 1;
                    let is_new = match &error {
                        GroupError::Taken(_) => attempts == PATIENCE,
                        GroupError::Refused { .. } => attempts == 1,
                    };
                    if is_new {
                        tracing::warn!(
                            "no packets are named that policies drop: {}",
                            chain(&error)
                        );
                    }
                    std::thread::sleep(ROUND);
                }
            }
        }
    }

    fn hear(&self, mut group: Group, ends: &AtomicBool) {
        while !ends.load(Ordering::Relaxed) {
            match group.next(ROUND) {
                Ok(logged) => logged.iter().for_each(|one| self.note(one)),
                Err(error) => {
                    tracing::warn!("listen to dropped packets: {error}");
                    std::thread::sleep(ROUND);
                    return;
                }
            }
        }
    }

    fn note(&self, Logged { prefix, header }: &Logged) {
        // Words of others, who log to the same group.
        let Some((ending, way)) = Ending::of(prefix) else { return };
        let (client, server, port) = match way {
            Way::There => (header.src, header.dst, header.dport),
            Way::Back => (header.dst, header.src, header.sport),
        };
        let kind = (ending, client, server, header.protocol, port);
        let explain = || Dropped::explained(ending, header, way, &self.shown.view());
        if let Some(line) = self.drops.add(kind, since_1970(), explain) {
            tracing::info!("policy {}", line.dropped);
        }
    }
}
