//! A server that is asked, and whether it works.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use model::DomainName;
use model::forwarding::{ForwardZone, Over, Server};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use wire::dns::{Asked, Heard, Rcode, RecordType, hear};

use super::datagram;
use super::learn::learn;
use super::stream::{Stream, Target, TlsLayer};
use super::tally::{Account, Connections};
use super::tasks::Tasks;
use crate::dns::{Found, Sought, random};

/// How long a server may take to show that it is there.
const CHECK: Duration = Duration::from_secs(1);

/// The time between two looks at a server that is not.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// A server.
#[derive(Debug)]
pub(super) struct Upstream {
    server: Server,
    /// A server over TCP or TLS; over UDP, for answers that do not fit.
    stream: Stream,
    max_fails: u32,
    /// Health checks that failed in a row.
    fails: AtomicU32,
    is_checked: AtomicBool,
    is_loop: AtomicBool,
    tasks: Arc<Tasks>,
    /// How it went, ever.
    pub(super) account: Account,
}

/// How good a choice a server is; the lower the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It answers.
    Well,
    /// It did not answer of late.
    Doubtful,
    /// It does not answer.
    Down,
}

impl Upstream {
    /// A server that is well until it shows otherwise.
    ///
    /// # Errors
    /// When its certificate could not be verified.
    pub(super) fn new(
        server: Server,
        tls: Option<&Arc<TlsLayer>>,
        zone: &ForwardZone,
        tasks: &Arc<Tasks>,
    ) -> io::Result<Self> {
        let addr = server.addr;
        let name = match &server.over {
            Over::Udp | Over::Tcp => None,
            Over::Tls(None) => Some(ServerName::IpAddress(addr.ip().into())),
            Over::Tls(Some(name)) => {
                Some(ServerName::try_from(name.clone()).map_err(io::Error::other)?)
            }
        };
        let untrusted = || io::Error::other("no certificate could be verified");
        let tls = match name {
            Some(name) => Some((Arc::clone(tls.ok_or_else(untrusted)?), name)),
            None => None,
        };
        let target = Target { addr, tls };
        Ok(Upstream {
            stream: Stream::new(target, zone.expire, Arc::clone(tasks)),
            server,
            max_fails: zone.max_fails,
            fails: AtomicU32::new(0),
            is_checked: AtomicBool::new(false),
            is_loop: AtomicBool::new(false),
            tasks: Arc::clone(tasks),
            account: Account::default(),
        })
    }

    /// Where it is.
    pub(super) fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    /// Whether it is asked over TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.server.over, Over::Tls(_))
    }

    /// How often there was a connection to ask on.
    pub(super) fn connections(&self) -> Connections {
        self.stream.connections()
    }

    /// How good a choice it is.
    pub(super) fn standing(&self) -> Standing {
        match self.fails.load(Ordering::Relaxed) {
            0 => Standing::Well,
            fails if self.max_fails > 0 && fails >= self.max_fails => Standing::Down,
            _ => Standing::Doubtful,
        }
    }

    /// Whether what it is asked comes back to us.
    pub(super) fn is_loop(&self) -> bool {
        self.is_loop.load(Ordering::Relaxed)
    }

    /// Sets whether what it is asked comes back to us.
    pub(super) fn set_loop(&self, is_loop: bool) {
        let was_loop = self.is_loop.swap(is_loop, Ordering::Relaxed);
        if is_loop && !was_loop {
            tracing::error!(
                "dns: upstream {self} sends questions back to this node: it is not asked any more. \
                 Check what it forwards to"
            );
        } else if was_loop && !is_loop {
            tracing::info!("dns: upstream {self} does not send questions back any more");
        }
    }

    /// Asks, until there is an answer.
    ///
    /// # Errors
    /// When the server cannot be reached, or what it says is no answer.
    pub(super) async fn ask(&self, sought: &Sought) -> io::Result<Found> {
        let start = Instant::now();
        let found = match self.ask_once(sought, true).await? {
            (_, true) => self.ask_once(sought, false).await?.0,
            (found, false) => found,
        };
        self.account.add(found.rcode, start.elapsed());
        Ok(found)
    }

    /// Asks, and says whether the server seems not to understand EDNS (RFC 6891 §7).
    async fn ask_once(&self, sought: &Sought, has_edns: bool) -> io::Result<(Found, bool)> {
        let Sought { name, kind, dnssec_ok, checking_disabled } = sought;
        let (kind, dnssec_ok, checking_disabled) = (*kind, *dnssec_ok, *checking_disabled);
        let asked = Asked { name, kind, dnssec_ok, checking_disabled, has_edns };
        let message = self.exchange(&asked.message(random::number())).await?;
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "the answer cannot be read");
        let heard = hear_any(&message, &asked).ok_or_else(bad)?;
        let is_old = has_edns
            && !heard.has_edns
            && matches!(heard.rcode, Some(Rcode::FormErr | Rcode::NotImp));
        Ok((learn(&heard, sought).ok_or_else(bad)?, is_old))
    }

    /// The answer to `message`, whole; over TCP it has an id of its own.
    async fn exchange(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        if self.server.over == Over::Udp {
            let is_answer = |heard: &[u8]| hear(heard, message).is_some();
            let answer = datagram::ask(self.server.addr, message, is_answer).await?;
            if !hear(&answer, message).is_some_and(|heard| heard.is_truncated) {
                return Ok(answer);
            }
        }
        self.stream.ask(message).await
    }

    /// Looks after a server that did not answer, until it does.
    pub(super) fn suspect(self: &Arc<Self>) {
        if self.max_fails == 0 || self.is_checked.swap(true, Ordering::Relaxed) {
            return;
        }
        self.tasks.spawn(check(Arc::downgrade(self)));
    }

    /// Whether it answers at all, whatever it says.
    async fn is_there(&self) -> bool {
        let asked = Asked {
            name: &DomainName::ROOT,
            kind: RecordType::NS,
            dnssec_ok: false,
            checking_disabled: false,
            has_edns: false,
        };
        let message = asked.message(random::number());
        matches!(timeout(CHECK, self.exchange(&message)).await, Ok(Ok(_)))
    }

    /// Takes down how a check went, and says whether there is to be another.
    fn checked(&self, is_there: bool) -> bool {
        let was = self.standing();
        if is_there {
            self.fails.store(0, Ordering::Relaxed);
        } else {
            self.fails.fetch_add(1, Ordering::Relaxed);
            self.account.failed_checks.fetch_add(1, Ordering::Relaxed);
        }
        let standing = self.standing();
        if standing == Standing::Down && was != Standing::Down {
            tracing::warn!("dns: upstream {self} does not answer");
        } else if standing == Standing::Well && was == Standing::Down {
            tracing::info!("dns: upstream {self} answers again");
        }
        !is_there
    }
}

/// Looks whether the server is there, again and again until it is, or nobody wants to know any more.
async fn check(upstream: Weak<Upstream>) {
    loop {
        let Some(upstream) = upstream.upgrade() else { return };
        let is_there = upstream.is_there().await;
        if !upstream.checked(is_there) {
            upstream.is_checked.store(false, Ordering::Relaxed);
            return;
        }
        drop(upstream);
        sleep(CHECK_EVERY).await;
    }
}

/// Reads an answer whose id is known to be right already.
fn hear_any<'m>(message: &'m [u8], asked: &Asked<'_>) -> Option<Heard<'m>> {
    let id = u16::from_be_bytes(*message.first_chunk()?);
    hear(message, &asked.message(id))
}

/// As in the settings.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}
