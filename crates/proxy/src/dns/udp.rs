//! Datagrams: a thread reads as many as wait at a socket, up to [`BATCH`], answers them, and sends the
//! answers, with two system calls.
//!
//! Nothing is allocated for questions that are answered at once. Those for which others have to be
//! asked go to the asynchronous runtime.

use std::io::{IoSlice, IoSliceMut, Read};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use model::Family;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use plan::zone::Zones;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use wire::dns::{LARGEST_UDP, Transport};

use super::Sources;
use super::asking::{Asking, Path};
use super::bind::Listen;
use super::counts::{Counts, Zone};
use super::log::{Exchange, Log};
use super::respond::{Message, Outcome, Responder};

/// Datagrams that are read with one system call (DNS-141).
const BATCH: usize = 64;

/// Answers that are sent with one system call: most of what there is to gain, from a sixteenth of the
/// room on the stack.
const SENT: usize = 16;

/// Bytes of a question that are read: as much as we say that we take.
const QUESTION: usize = LARGEST_UDP as usize;

/// Room for a record that turns out not to fit: a name and a name, and what is around them.
const LONGEST_RECORD: usize = 1024;

/// How long a thread sleeps at most, in milliseconds: it shows that it is alive.
const BEAT: u16 = 1000;

/// Batches that a thread answers at a socket before it ends: more datagrams than a socket holds.
const LAST: usize = 64;

/// How long a thread waits that can't wait for questions.
const PAUSE: Duration = Duration::from_millis(100);

/// What a thread and its owner share.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The sockets that it reads.
    pub(super) sockets: ArcSwap<Vec<Ear>>,
    /// Whether it ends.
    pub(super) is_over: AtomicBool,
    /// How often it has looked for work: grows at least once a second, or the thread hangs.
    pub(super) beats: AtomicU64,
    pub(super) counts: Counts,
}

/// A socket that a thread reads.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) listen: Listen,
}

/// A thread that answers datagrams.
pub(super) struct Worker {
    pub(super) lane: Arc<Lane>,
    /// Readable when the lane has changed.
    pub(super) wake: UnixStream,
    pub(super) responder: Arc<Responder>,
    pub(super) asking: Arc<Asking>,
}

impl Worker {
    /// Answers until its owner says that it is over.
    pub(super) fn run(self) {
        let mut room = Room::new();
        while !self.lane.is_over.load(Ordering::Acquire) {
            self.listen(&self.lane.sockets.load_full(), &mut room);
        }
        for ear in &*self.lane.sockets.load_full() {
            // What waits now, and not what goes on coming: others may read the same socket.
            let mut left = LAST;
            while left > 0 && self.answer(ear, &mut room) > 0 {
                left -= 1;
            }
        }
    }

    /// Answers at these sockets until the lane changes.
    fn listen(&self, ears: &[Ear], room: &mut Room) {
        let fds = ears.iter().map(|ear| ear.socket.as_fd()).chain([self.wake.as_fd()]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        loop {
            if let Err(error) = poll(&mut fds, BEAT)
                && error != Errno::EINTR
            {
                tracing::warn!("wait for DNS questions: {error}");
                std::thread::sleep(PAUSE);
            }
            self.lane.beats.fetch_add(1, Ordering::Relaxed);
            let is_readable = |fd: &PollFd<'_>| fd.any() == Some(true);
            for (ear, _) in ears.iter().zip(&fds).filter(|(_, fd)| is_readable(fd)) {
                self.answer(ear, room);
            }
            if fds.last().is_some_and(is_readable) {
                // Whatever it says, the lane is looked at again.
                let (Ok(_) | Err(_)) = (&self.wake).read(&mut [0; 64]);
                return;
            }
        }
    }

    /// Answers what waits at a socket, up to a batch, and says how many datagrams that were.
    fn answer(&self, ear: &Ear, room: &mut Room) -> usize {
        let known = &self.responder.known;
        let log = known.log.load();
        let batch = Batch {
            worker: self,
            ear,
            zones: &known.zones.load(),
            cluster: &known.cluster.load(),
            log: log.as_deref(),
            start: Instant::now(),
            now: since_1970(),
        };
        let Room { v4, v6, buffers, answers } = room;
        // A socket that was readable may have nothing: what was there had a wrong checksum.
        let received = match ear.listen.addr {
            SocketAddr::V4(_) => receive(&ear.socket, v4, buffers, |bytes, from: SockaddrIn| {
                let from = SocketAddrV4::from(from);
                batch.answer(bytes, from.into(), answers);
            }),
            SocketAddr::V6(_) => receive(&ear.socket, v6, buffers, |bytes, from: SockaddrIn6| {
                let from = SocketAddrV6::from(from);
                batch.answer(bytes, from.into(), answers);
            }),
        };
        let counts = &self.lane.counts;
        send(&ear.socket, &answers.ready, &answers.out, counts);
        let took = batch.start.elapsed();
        for zone in [Zone::Own, Zone::Other] {
            let times = answers.ready.iter().filter(|ready| ready.zone == zone).count();
            if times > 0 {
                counts.add_took(zone, took, times as u64);
            }
        }
        answers.out.clear();
        answers.ready.clear();
        received.unwrap_or(0)
    }
}

/// What a batch is answered by: the same for all of it.
struct Batch<'b> {
    worker: &'b Worker,
    ear: &'b Ear,
    zones: &'b Arc<Zones>,
    cluster: &'b Sources,
    log: Option<&'b Log>,
    start: Instant,
    /// Seconds since 1970.
    now: u32,
}

impl Batch<'_> {
    /// Answers a datagram, at once or later.
    fn answer(&self, bytes: &[u8], from: SocketAddr, answers: &mut Answers) {
        let (ear, Worker { lane, responder, asking, .. }) = (self.ear, self.worker);
        let Some(client) = ear.listen.admit(from.ip(), self.cluster) else {
            return Counts::add_one(&lane.counts.strangers);
        };
        answers.turn = answers.turn.wrapping_add(1);
        let (turn, now, transport) = (answers.turn, self.now, Transport::Udp);
        let (out, message) = (&mut answers.out, Message { bytes, client, transport, turn, now });
        let begins = out.len();
        match responder.respond(self.zones, message, &lane.counts, out) {
            Outcome::Silent => Counts::add_one(&lane.counts.silent),
            Outcome::Told(told) => {
                let ends = out.len();
                answers.ready.push(Ready { to: from.into(), begins, ends, zone: told.zone });
                let sizes = [bytes.len(), ends - begins];
                lane.counts.add(told, transport, Family::of(client.ip), sizes);
                if let Some(log) = self.log {
                    let (question, answer) = (bytes, &out[begins..]);
                    let exchange = Exchange { client: from, transport, question, answer };
                    log.say(&exchange, told, self.start.elapsed());
                }
            }
            Outcome::Open(open) => {
                let (ear, lane) = (ear.clone(), Arc::clone(lane));
                asking.answer_later(*open, Path { ear, client: from, lane }, self.start);
            }
        }
    }
}

/// Seconds since 1970, as they are written in cookies: the last 32 bits of them.
pub(super) fn since_1970() -> u32 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "they go on from zero after the last one")]
    let bits = now.as_secs() as u32;
    bits
}

/// What a thread answers with: made once.
struct Room {
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
    buffers: Box<[[u8; QUESTION]; BATCH]>,
    answers: Answers,
}

/// The answers of a batch.
struct Answers {
    /// One after the other.
    out: Vec<u8>,
    ready: Vec<Ready>,
    /// Of the last message.
    turn: u32,
}

/// An answer among others.
struct Ready {
    to: SocketAddrAny,
    begins: usize,
    ends: usize,
    zone: Zone,
}

impl Room {
    fn new() -> Self {
        Room {
            v4: MultiHeaders::preallocate(BATCH, None),
            v6: MultiHeaders::preallocate(BATCH, None),
            buffers: Box::new([[0; QUESTION]; BATCH]),
            answers: Answers {
                // An answer is written before it is found to be too long, by a record at most.
                out: Vec::with_capacity(BATCH * QUESTION + LONGEST_RECORD),
                ready: Vec::with_capacity(BATCH),
                turn: 0,
            },
        }
    }
}

/// Reads what waits at a socket, up to a batch, calls `each` for every datagram of it, and says how many
/// there were.
fn receive<S: SockaddrLike + Copy>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<S>,
    buffers: &mut [[u8; QUESTION]; BATCH],
    mut each: impl FnMut(&[u8], S),
) -> nix::Result<usize> {
    let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let mut count = 0;
    for message in recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), flags, None)? {
        count += 1;
        let Some(from) = message.address else { continue };
        each(message.iovs().next().unwrap_or_default(), from);
    }
    Ok(count)
}

/// Sends answers, and counts those that the kernel does not take: their clients ask again.
fn send(socket: &UdpSocket, mut ready: &[Ready], out: &[u8], counts: &Counts) {
    while let [first, ..] = ready {
        let some = &ready[..ready.len().min(SENT)];
        let at = |i: usize| some.get(i).unwrap_or(first);
        let slices: [_; SENT] =
            std::array::from_fn(|i| [IoSlice::new(&out[at(i).begins..at(i).ends])]);
        let mut controls: [_; SENT] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut i = 0;
        let mut messages = controls.each_mut().map(|control| {
            i += 1;
            MMsgHdr::new_with_addr(&at(i - 1).to, &slices[i - 1], control)
        });
        match sendmmsg(socket, &mut messages[..some.len()], SendFlags::DONTWAIT) {
            Ok(sent) if sent > 0 => ready = &ready[sent..],
            // It is the first one that can't be sent.
            Ok(_) | Err(_) => {
                Counts::add_one(&counts.unsent);
                ready = &ready[1..];
            }
        }
    }
}
