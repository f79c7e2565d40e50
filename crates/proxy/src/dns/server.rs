//! The server: its threads, its sockets, its end.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::Others;
use super::asking::Asking;
use super::bind::{Bound, Handed, Listen, ListenError};
use super::cookie::Cookies;
use super::counts::Counts;
use super::respond::{Known, Responder};
use super::share::Shares;
use super::tcp::Acceptor;
use super::udp::{Ear, Lane, Worker};

/// How much there may be of everything that an outsider can cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads that answer datagrams.
    pub threads: NonZero<usize>,
    /// Connections.
    pub connections: usize,
    /// Connections of one client.
    pub connections_each: usize,
    /// How long a connection stays without a complete question or a complete answer.
    pub idle: Duration,
    /// Questions that others are asked for at one time.
    pub open: usize,
    /// Questions of one client that others are asked for at one time.
    pub open_each: usize,
}

impl Default for Limits {
    /// A thread for each core, two at most: on a node DNS has neighbors (DNS-141). Connections stay for
    /// 10 s (DNS-71).
    fn default() -> Self {
        const MOST: NonZero<usize> = NonZero::new(2).expect("two are not none");
        Limits {
            threads: thread::available_parallelism().map_or(MOST, |cores| cores.min(MOST)),
            connections: 4096,
            connections_each: 64,
            idle: Duration::from_secs(10),
            open: 4096,
            open_each: 512,
        }
    }
}

/// What did not start.
#[derive(Debug, thiserror::Error)]
#[error("start the DNS server")]
pub struct StartError(#[source] io::Error);

/// A DNS server that runs.
///
/// It answers at no address until it is told to [listen](Server::listen). When it is dropped, it ends at
/// once; [`Server::stop`] waits for what is open.
pub struct Server {
    lanes: Vec<(Arc<Lane>, UnixStream)>,
    threads: Vec<JoinHandle<()>>,
    asking: Arc<Asking>,
    connections: Arc<Shares>,
    /// How long one stays that says nothing.
    idle_for: Duration,
    /// Of connections.
    counts: Arc<Counts>,
    places: Mutex<BTreeMap<Listen, Place>>,
    is_over: watch::Sender<bool>,
    /// Connections that stand between two questions when the server ends.
    given_back: (mpsc::Sender<TcpStream>, mpsc::Receiver<TcpStream>),
    /// Ends when nothing is open any more.
    idle: mpsc::Receiver<Infallible>,
}

/// An address that is listened at.
struct Place {
    bound: Bound,
    acceptor: Arc<Acceptor>,
    accepting: AbortHandle,
}

impl Server {
    /// Starts the threads. What others have to be asked for, and connections, are tasks of `runtime`.
    ///
    /// # Errors
    /// [`StartError`] when the system has no threads, descriptors or random numbers for it.
    pub fn start(
        known: Arc<Known>,
        others: Arc<dyn Others>,
        limits: Limits,
        runtime: Handle,
    ) -> Result<Self, StartError> {
        let cookies = Cookies::new().map_err(|error| StartError(error.into()))?;
        let responder = Arc::new(Responder { known, others, cookies });
        let (alive, idle) = mpsc::channel(1);
        let shares = Shares::new(limits.open, limits.open_each);
        let asking = Arc::new(Asking { runtime, responder, shares, _alive: alive });
        let mut server = Server {
            lanes: Vec::new(),
            threads: Vec::new(),
            asking,
            connections: Shares::new(limits.connections, limits.connections_each),
            idle_for: limits.idle,
            counts: Arc::default(),
            places: Mutex::default(),
            is_over: watch::Sender::new(false),
            given_back: mpsc::channel(limits.connections.max(1)),
            idle,
        };
        for i in 0..limits.threads.get() {
            server.spawn(i).map_err(StartError)?;
        }
        Ok(server)
    }

    fn spawn(&mut self, i: usize) -> io::Result<()> {
        let (mine, its) = UnixStream::pair()?;
        for end in [&mine, &its] {
            end.set_nonblocking(true)?;
        }
        let (lane, asking) = (Arc::<Lane>::default(), Arc::clone(&self.asking));
        let responder = Arc::clone(&asking.responder);
        let worker = Worker { lane: Arc::clone(&lane), wake: its, responder, asking };
        let thread = thread::Builder::new().name(format!("dns-{i}")).spawn(|| worker.run())?;
        self.lanes.push((lane, mine));
        self.threads.push(thread);
        Ok(())
    }

    /// Listens at these addresses and no others: at those that are new, with the sockets that were
    /// `handed` over where there are some; what came to them meanwhile is answered. Sockets at addresses
    /// that are not wanted are closed.
    ///
    /// What can't be listened at is said, and keeps no other from it; the next call tries again.
    pub fn listen(&self, wanted: &[Listen], handed: Vec<OwnedFd>) -> Vec<ListenError> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut handed = Handed::new(handed);
        places.retain(|listen, place| {
            let is_wanted = wanted.contains(listen);
            if !is_wanted {
                place.accepting.abort();
            }
            is_wanted
        });
        let mut errors = Vec::new();
        for listen in wanted {
            if places.contains_key(listen) {
                continue;
            }
            let bound = Bound::new(*listen, self.lanes.len(), &mut handed);
            match bound.and_then(|bound| self.place(bound)) {
                Ok(place) => drop(places.insert(*listen, place)),
                Err(error) => errors.push(error),
            }
        }
        for (i, (lane, _)) in self.lanes.iter().enumerate() {
            let ears = places.values().flat_map(|place| place.bound.ears(i, self.lanes.len()));
            lane.sockets.store(Arc::new(ears.collect()));
        }
        self.wake();
        errors
    }

    /// Takes connections at an address.
    fn place(&self, bound: Bound) -> Result<Place, ListenError> {
        let listener = {
            let _entered = self.asking.runtime.enter();
            let listener = bound.tcp.try_clone().and_then(tokio::net::TcpListener::from_std);
            listener.map_err(|cause| ListenError { addr: bound.listen.addr, cause })?
        };
        let acceptor = Acceptor {
            listen: bound.listen,
            responder: Arc::clone(&self.asking.responder),
            asking: Arc::clone(&self.asking),
            shares: Arc::clone(&self.connections),
            idle: self.idle_for,
            counts: Arc::clone(&self.counts),
            is_over: self.is_over.subscribe(),
            given_back: self.given_back.0.clone(),
        };
        let acceptor = Arc::new(acceptor);
        let accepting = self.asking.runtime.spawn(Arc::clone(&acceptor).run(listener));
        Ok(Place { bound, acceptor, accepting: accepting.abort_handle() })
    }

    /// Goes on with the connections that a predecessor has [given back](Server::stop), at addresses that
    /// are listened at. Everything else is closed.
    pub fn adopt(&self, handed: Vec<OwnedFd>) {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.asking.runtime.enter();
        for ([own, client], stream) in Handed::new(handed).connections {
            let mut at = places.values().filter(|place| place.bound.listen.addr == own);
            let adopted = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let (Some(place), Ok(stream)) = (at.next(), adopted) {
                place.acceptor.admit(stream, client);
            }
        }
    }

    /// The addresses that it listens at.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.keys().map(|listen| listen.addr).collect()
    }

    /// Copies of the sockets' descriptors, for a successor: both may read them at one time, and each
    /// question is read by one of them.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let all: io::Result<Vec<_>> = places.values().map(|place| place.bound.fds()).collect();
        Ok(all?.into_iter().flatten().collect())
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        let all = Counts::default();
        all.add_all(&self.counts);
        self.lanes.iter().for_each(|(lane, _)| all.add_all(&lane.counts));
        all
    }

    /// How often each thread has looked for work. All of these grow at least once a second; one that
    /// does not is a thread that hangs (DNS-107).
    pub fn beats(&self) -> Vec<u64> {
        self.lanes.iter().map(|(lane, _)| lane.beats.load(Ordering::Relaxed)).collect()
    }

    /// Answers what has come so far, and waits for what others are asked for, until `patience` is over.
    ///
    /// The sockets are given back, open, and with them the connections that stand between two questions:
    /// what comes to them from now on waits for a successor that has copies of them, and is lost when they
    /// are closed and nobody has.
    pub async fn stop(mut self, patience: Duration) -> Vec<OwnedFd> {
        let mut sockets = self.sockets().unwrap_or_default();
        self.end();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(|| {
            threads.into_iter().filter_map(|thread| thread.join().err()).count()
        });
        if !matches!(joined.await, Ok(0)) {
            tracing::error!("a thread of the DNS server has panicked");
        }
        let (_closed, mut idle) = mpsc::channel(1);
        std::mem::swap(&mut self.idle, &mut idle);
        let mut given_back = mpsc::channel(1);
        std::mem::swap(&mut self.given_back, &mut given_back);
        let (own, mut given_back) = given_back;
        drop((self, own));
        let end = async {
            while let Some(connection) = given_back.recv().await {
                sockets.extend(connection.into_std().map(OwnedFd::from));
            }
            idle.recv().await
        };
        if tokio::time::timeout(patience, end).await.is_err() {
            tracing::warn!("some DNS questions are left unanswered");
        }
        sockets
    }

    fn end(&self) {
        self.is_over.send_replace(true);
        for (lane, _) in &self.lanes {
            lane.is_over.store(true, Ordering::Release);
        }
        self.wake();
    }

    fn wake(&self) {
        for (_, wake) in &self.lanes {
            // Where there is no room, it is awake already.
            let (Ok(_) | Err(_)) = (&*wake).write(&[0]);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Bound {
    /// The sockets that thread `i` of `threads` reads.
    fn ears(&self, i: usize, threads: usize) -> impl Iterator<Item = Ear> + '_ {
        let mine = self.udp.iter().skip(i).step_by(threads);
        mine.map(|socket| Ear { socket: Arc::clone(socket), listen: self.listen })
    }
}
