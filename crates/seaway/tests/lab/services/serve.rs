//! Servers in any network of a lab that answer as `seaway/echo` does: where no pod can be, and for
//! SCTP.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fixtures::sctp;
use kernel::netns::Netns;
use model::{Family, Protocol};
use socket2::{Domain, Socket, Type};

use super::ask;

/// How long a server goes without looking whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A server in both families, until its value goes.
pub(crate) struct Server {
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Answers at `port` of every address in `netns`, and says that it is `host`; without a name, over
    /// TCP, that it is the address it was asked at.
    pub(crate) fn start(netns: &Netns, protocol: Protocol, port: u16, host: &str) -> Server {
        let all = Family::ALL.map(|family| SocketAddr::new(sctp::any(family), port));
        Server::start_at(netns, protocol, &all, host)
    }

    /// The same at these addresses alone.
    pub(crate) fn start_at(
        netns: &Netns,
        protocol: Protocol,
        at: &[SocketAddr],
        host: &str,
    ) -> Server {
        let ends = Arc::new(AtomicBool::new(false));
        let threads = at.iter().map(|at| {
            let (ends, host, port) = (ends.clone(), host.to_owned(), at.port());
            let open = || -> io::Result<Open> { Open::new(protocol, *at) };
            let socket = netns.run(open).expect("enter").expect("open the server's socket");
            thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    // Nobody asked for a while, or who asked is gone.
                    drop(socket.answer(protocol, port, &host));
                }
            })
        });
        let threads = threads.collect();
        Server { ends, threads }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

enum Open {
    Listener(TcpListener),
    Datagrams(UdpSocket),
    Raw(UdpSocket),
}

impl Open {
    fn new(protocol: Protocol, at: SocketAddr) -> io::Result<Open> {
        if protocol == Protocol::Sctp {
            let socket = sctp::socket(at.ip())?;
            socket.set_read_timeout(Some(LOOK))?;
            return Ok(Open::Raw(socket));
        }
        let kind = if protocol == Protocol::Tcp { Type::STREAM } else { Type::DGRAM };
        let socket = Socket::new(Domain::for_address(at), kind, None)?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.bind(&at.into())?;
        if protocol == Protocol::Udp {
            return Ok(Open::Datagrams(socket.into()));
        }
        socket.listen(1024)?;
        Ok(Open::Listener(socket.into()))
    }

    /// Answers the next question.
    fn answer(&self, protocol: Protocol, port: u16, host: &str) -> io::Result<()> {
        match self {
            Open::Listener(listener) => {
                let (mut stream, client) = listener.accept()?;
                let own = stream.local_addr()?.ip().to_string();
                let host = if host.is_empty() { &own } else { host };
                stream.write_all(ask::line(protocol, client, host).as_bytes())
            }
            Open::Datagrams(socket) => {
                let (_, client) = socket.recv_from(&mut [0; 16])?;
                socket.send_to(ask::line(protocol, client, host).as_bytes(), client).map(drop)
            }
            Open::Raw(socket) => {
                sctp::answer(socket, port, |client| ask::line(protocol, client, host))
            }
        }
    }
}
