//! A box in the middle of a cable that loses and delays frames: what a kernel with netem would do.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, PipeWriter};
use std::os::fd::AsFd;
use std::thread::JoinHandle;
use std::time::Instant;

use kernel::frames::{Frames, LONGEST};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::Impairment;

/// Most bytes on the way in one direction; what comes on top is lost, as in a router without room.
const ROOM: usize = 32 << 20;

/// Frames taken from one end before the other has its turn.
const TURN: usize = 256;

/// A running box. It stops, with all that is on the way, when the value goes.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Closed to stop the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Joins two links by way of a box with this impairment.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(ends: [Frames; 2], impairment: Impairment) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let [a, b] = ends;
        let mut middle = Middle {
            ends: [a, b],
            ways: [Way::default(), Way::default()],
            impairment,
            chance: Chance::new(),
            frame: vec![0; LONGEST],
        };
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || while middle.turn(&stopped) {})?;
        Ok(Relay { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Everything the thread works with.
struct Middle {
    ends: [Frames; 2],
    /// What goes to each end.
    ways: [Way; 2],
    impairment: Impairment,
    chance: Chance,
    frame: Vec<u8>,
}

/// Frames on the way to one end, in order.
#[derive(Default)]
struct Way {
    frames: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Middle {
    /// Waits for a frame, for the time of the next one on the way, or for the end, which is `false`.
    fn turn(&mut self, stopped: &impl AsFd) -> bool {
        let next = self.ways.iter().filter_map(|way| Some(way.frames.front()?.0)).min();
        let within = next.map(|due| due.saturating_duration_since(Instant::now()));
        let [a, b] = &self.ends;
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut ready = [readable(a.as_fd()), readable(b.as_fd()), readable(stopped.as_fd())];
        match ppoll(&mut ready, within.map(TimeSpec::from_duration), None) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return true,
            Err(errno) => {
                tracing::error!("a cable's relay ends: wait for frames: {errno}");
                return false;
            }
        }
        if ready[2].any() == Some(true) {
            return false;
        }
        let came = [ready[0].any() == Some(true), ready[1].any() == Some(true)];
        for from in [0, 1].into_iter().filter(|from| came[*from]) {
            self.take(from);
        }
        self.deliver();
        true
    }

    fn take(&mut self, from: usize) {
        for _ in 0..TURN {
            let length = match self.ends[from].take(&mut self.frame) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The link went down, or a frame that could not be expressed: lost.
                Err(_) => continue,
            };
            let way = &mut self.ways[1 - from];
            let is_lost = self.impairment.loss.takes(self.chance.next());
            if is_lost || way.bytes + length > ROOM {
                continue;
            }
            way.bytes += length;
            let due = Instant::now() + self.impairment.delay;
            way.frames.push_back((due, self.frame[..length].to_owned()));
        }
    }

    /// Puts on each link what is due there. A link that is down, or full, loses it.
    fn deliver(&mut self) {
        let now = Instant::now();
        for (way, end) in self.ways.iter_mut().zip(&self.ends) {
            while let Some((_, frame)) = way.frames.pop_front_if(|(due, _)| *due <= now) {
                way.bytes -= frame.len();
                drop(end.put(&frame));
            }
        }
    }
}

/// Numbers that nobody has chosen (xorshift64*, Marsaglia and Vigna). Good enough for losing frames
/// and nothing else.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        // std's own seed for hash maps; it must not be 0.
        Chance(RandomState::new().build_hasher().finish() | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        u32::try_from(number).expect("32 bits are left")
    }
}
