//! Ends the agent when threads of its DNS server hang.
//!
//! The kernel leads questions to other nodes as soon as nobody holds the sockets any more. It cannot tell a
//! thread that hangs from one that works, and the thread cannot close what it hangs with. So the process
//! ends, at once and by the kernel alone: no lock is taken that somebody may hang with, and descriptors are
//! closed in the order in which a crash closes them. Whoever keeps the agent starts it again.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};

/// How often threads are looked at. Each of them counts on at least as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A thread that has not counted on in so many looks hangs. Clients wait for 5 s before they ask again: by
/// then another node answers. A machine that was stopped altogether costs all of them one look.
const LOOKS: u32 = 3;

/// The thread that looks at the others; it ends with this value.
#[derive(Debug)]
pub(crate) struct Watchdog {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Ends this process when one of `beats`, a count for each thread, no longer grows.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(beats: impl Fn() -> Vec<u64> + Send + 'static) -> io::Result<Self> {
        Watchdog::over(beats, LOOK_EVERY, end_process)
    }

    fn over(
        beats: impl Fn() -> Vec<u64> + Send + 'static,
        every: Duration,
        hangs: impl FnOnce(usize) + Send + 'static,
    ) -> io::Result<Self> {
        let (end, ended) = channel();
        let watch = move || {
            let mut pulse = Pulse::default();
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if let Some(thread) = pulse.look(&beats()) {
                    return hangs(thread);
                }
            }
        };
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.end.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What was seen of each thread: its count, and in how many looks that has been the same.
#[derive(Debug, Default)]
struct Pulse(Vec<(u64, u32)>);

impl Pulse {
    /// The first thread that hangs.
    fn look(&mut self, beats: &[u64]) -> Option<usize> {
        // Another number of threads: they are others.
        self.0.resize(beats.len(), (0, 0));
        for (seen, beat) in self.0.iter_mut().zip(beats) {
            *seen = if seen.0 == *beat { (*beat, seen.1 + 1) } else { (*beat, 0) };
        }
        self.0.iter().position(|(_, looks)| *looks >= LOOKS)
    }
}

fn end_process(thread: usize) {
    let words = format!("thread {thread} of the DNS server hangs; the agent ends at once\n");
    // Past the log: whoever hangs may hold its lock.
    nix::unistd::write(io::stderr(), words.as_bytes()).ok();
    kill(nix::unistd::getpid(), Signal::SIGKILL).ok();
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_thread_hangs_when_its_count_stands_still_for_three_looks_and_not_before() {
        let mut pulse = Pulse::default();
        let looks: [(&[u64], Option<usize>); 12] = [
            (&[5, 1], None),
            (&[5, 2], None),
            (&[6, 3], None),
            (&[6, 4], None),
            (&[6, 5], None),
            (&[7, 5], None),
            (&[8, 5], None),
            (&[9, 5], Some(1)),
            (&[9, 6], None),
            (&[9, 7], None),
            (&[9, 8], Some(0)),
            (&[], None),
        ];
        for (number, (beats, expected)) in looks.into_iter().enumerate() {
            assert_eq!(pulse.look(beats), expected, "look {number}");
        }
    }

    #[test]
    fn it_watches_as_long_as_threads_count_and_tells_once_they_do_not() {
        let (beats, goes_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let (told, hangs) = channel();
        let (counted, counts) = (Arc::clone(&beats), Arc::clone(&goes_on));
        let count = move || {
            let step = u64::from(counts.load(Ordering::Relaxed));
            vec![1 + counted.fetch_add(step, Ordering::Relaxed)]
        };
        let tell = move |thread| {
            told.send(thread).ok();
        };
        let watchdog = Watchdog::over(count, Duration::from_millis(1), tell).unwrap();
        while beats.load(Ordering::Relaxed) < 20 {
            assert!(hangs.try_recv().is_err());
            std::thread::yield_now();
        }
        goes_on.store(false, Ordering::Relaxed);
        assert_eq!(hangs.recv().unwrap(), 0);
        drop(watchdog);
    }
}
