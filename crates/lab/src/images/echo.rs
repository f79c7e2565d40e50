//! `seaway/echo`: says who asks.
//!
//! Over HTTP/1.1 it answers every request with the client's address as it saw it, its own host name,
//! and the request; over TCP and UDP with one line that names the client, itself and the transport,
//! and then, over TCP, with whatever it is sent. It needs no configuration: HTTP on 8080, TCP and
//! UDP on 9090, over both families.
//!
//! One thread accepts per port and one serves each connection, up to a bound: a test asks many
//! questions, but few at once.
//!
//! Asked to end it accepts nothing more, from that moment on, as servers do that are written by the book;
//! it answers what it is asked over the connections it has, closes each after its next answer, and ends
//! with the last of them, or when they have been silent for a while.

mod http;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// The image's name.
pub const IMAGE: &str = "seaway/echo";

/// The name this role is called by.
pub const ROLE: &str = "seaway-echo";

/// Connections served at once, per port; more are closed at once.
const CONNECTIONS: usize = 512;
/// How long connections may stay open once the end is near.
const LEAVING: Duration = Duration::from_secs(1);
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(75);
/// Stack of a thread, in bytes: there may be many, and none goes deep.
const STACK: usize = 128 * 1024;

const USAGE: &str = "seaway-echo [--http PORT]… [--tcp PORT]… [--udp PORT]…
    Without any: --http 8080 --tcp 9090 --udp 9090. Or set HTTP_PORT, TCP_PORT, UDP_PORT.";

/// Who answers: what every reply says about this end.
#[derive(Debug, Default)]
struct Me {
    host: String,
    pod: Option<String>,
    namespace: Option<String>,
    node: Option<String>,
    /// It has been asked to end.
    leaves: AtomicBool,
    /// Connections that are being served.
    open: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Udp,
}

/// Serves until it is ended. `args` and the environment choose the ports.
#[must_use]
#[expect(clippy::print_stderr, reason = "the container's standard error is its log")]
pub fn run(args: &[String]) -> ExitCode {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let ports = match ports(args, env) {
        Ok(ports) => ports,
        Err(why) => {
            eprintln!("{ROLE}: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let me = Arc::new(Me {
        host: nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned(),
        pod: env("POD_NAME"),
        namespace: env("POD_NAMESPACE"),
        node: env("NODE_NAME"),
        ..Me::default()
    });
    if let Err(error) = super::shell::end_signals().thread_block() {
        eprintln!("{ROLE}: block signals: {error}");
        return ExitCode::FAILURE;
    }
    let mut listeners = Vec::new();
    for (kind, port) in ports {
        match listen(kind, port, &me) {
            Ok(listener) => listeners.extend(listener),
            Err(error) => {
                eprintln!("{ROLE}: listen on port {port} ({kind:?}): {error}");
                return ExitCode::FAILURE;
            }
        }
        eprintln!("{ROLE}: listening on port {port} ({kind:?})");
    }
    let code = super::shell::wait_for_the_end();
    leave(&listeners, &me);
    code
}

/// Accepts nothing more, and waits for the connections there are.
fn leave(listeners: &[Arc<TcpListener>], me: &Me) {
    me.leaves.store(true, Ordering::SeqCst);
    for listener in listeners {
        // Shut down it refuses, and who waits for a connection on it wakes; it can't fail otherwise.
        drop(SockRef::from(listener).shutdown(Shutdown::Both));
    }
    let start = Instant::now();
    while me.open.load(Ordering::SeqCst) > 0 && start.elapsed() < LEAVING {
        thread::sleep(Duration::from_millis(5));
    }
}

fn ports(
    args: &[String],
    env: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(Kind, u16)>, String> {
    let number = |text: &str, what: &str| {
        text.parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{what} {text:?}: not a port"))
    };
    let mut ports = Vec::new();
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let kind = match flag.as_str() {
            "--http" => Kind::Http,
            "--tcp" => Kind::Tcp,
            "--udp" => Kind::Udp,
            other => return Err(format!("{other:?}: no such flag")),
        };
        let value = args.next().ok_or_else(|| format!("{flag}: needs a port"))?;
        ports.push((kind, number(value, flag)?));
    }
    if !ports.is_empty() {
        return Ok(ports);
    }
    let defaults = [
        (Kind::Http, "HTTP_PORT", 8080),
        (Kind::Tcp, "TCP_PORT", 9090),
        (Kind::Udp, "UDP_PORT", 9090),
    ];
    defaults
        .into_iter()
        .map(|(kind, name, default)| {
            Ok((kind, env(name).map_or(Ok(default), |value| number(&value, name))?))
        })
        .collect()
}

/// Serves a port; gives what accepts connections on it, if it has any.
fn listen(kind: Kind, port: u16, me: &Arc<Me>) -> io::Result<Option<Arc<TcpListener>>> {
    let me = me.clone();
    if kind == Kind::Udp {
        let socket: UdpSocket = bind(port, Type::DGRAM, Protocol::UDP)?.into();
        return spawn(move || serve_udp(&socket, &me)).map(|_| None);
    }
    let socket = bind(port, Type::STREAM, Protocol::TCP)?;
    socket.listen(1024)?;
    let listener = Arc::new(TcpListener::from(socket));
    let accepting = listener.clone();
    spawn(move || accept(&accepting, kind, &me)).map(|_| Some(listener))
}

/// One socket for both families, or an IPv4 one on a machine without IPv6.
fn bind(port: u16, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let open = |domain, addr: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(domain, kind, Some(protocol))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&addr.into())?;
        Ok(socket)
    };
    match open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
        {
            open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().stack_size(STACK).spawn(work)
}

fn accept(listener: &TcpListener, kind: Kind, me: &Arc<Me>) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = listener.accept();
        if accepted.is_err() && me.leaves.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, client)) = accepted else {
            // Out of descriptors or memory, mostly: others have to end first.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (serving, still_open) = (me.clone(), open.clone());
        me.open.fetch_add(1, Ordering::SeqCst);
        let served = spawn(move || {
            // A client that goes away or talks nonsense has had its answer.
            drop(serve(stream, plain(client), kind, &serving));
            still_open.fetch_sub(1, Ordering::Relaxed);
            serving.open.fetch_sub(1, Ordering::SeqCst);
        });
        if served.is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
            me.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn serve(mut stream: TcpStream, client: SocketAddr, kind: Kind, me: &Me) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let server = plain(stream.local_addr()?);
    if kind == Kind::Http {
        return http::serve(stream, client, server, me);
    }
    stream.write_all(line("tcp", client, Some(server), me).as_bytes())?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(Shutdown::Write),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

/// Answers every datagram with a line about its sender, followed by the datagram itself.
fn serve_udp(socket: &UdpSocket, me: &Me) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut buffer) else { continue };
        let mut answer = line("udp", plain(client), None, me).into_bytes();
        answer.extend_from_slice(&buffer[..length.min(1024)]);
        // Whoever asked may be unreachable by now.
        drop(socket.send_to(&answer, client));
    }
}

fn line(transport: &str, client: SocketAddr, server: Option<SocketAddr>, me: &Me) -> String {
    let at = server.map(|server| format!(" server={server}")).unwrap_or_default();
    format!("{transport} client={client}{at} host={}\n", me.host)
}

/// An IPv4 client as itself, not as the IPv6 address a socket for both families shows.
fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_environment_choose_the_ports() {
        let chosen = |args: &str, http: Option<&str>| {
            let args: Vec<_> = args.split_whitespace().map(str::to_owned).collect();
            let env = |name: &str| http.filter(|_| name == "HTTP_PORT").map(str::to_owned);
            match ports(&args, env) {
                Ok(ports) => {
                    let show = |(kind, port): &(Kind, u16)| format!("{kind:?} {port}");
                    ports.iter().map(show).collect::<Vec<_>>().join(", ")
                }
                Err(why) => why,
            }
        };
        for (args, env, expected) in [
            ("", None, "Http 8080, Tcp 9090, Udp 9090"),
            ("", Some("80"), "Http 80, Tcp 9090, Udp 9090"),
            ("", Some("x"), "HTTP_PORT \"x\": not a port"),
            ("--http 80 --http 81", None, "Http 80, Http 81"),
            ("--udp 53", Some("80"), "Udp 53"),
            ("--tcp", None, "--tcp: needs a port"),
            ("--tcp 0", None, "--tcp \"0\": not a port"),
            ("--tcp 65536", None, "--tcp \"65536\": not a port"),
            ("--sctp 1", None, "\"--sctp\": no such flag"),
        ] {
            assert_eq!(chosen(args, env), expected, "{args}");
        }
    }
}
