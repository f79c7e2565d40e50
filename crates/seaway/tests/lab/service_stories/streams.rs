//! Many flows that stay: TCP connections and UDP sockets to the line echo, each asked again and again.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use kernel::netns::Netns;

/// How long a flow may be silent.
const PATIENCE: Duration = Duration::from_secs(20);

/// Open flows. They stay in the namespace they were opened in, whoever uses them.
pub(crate) struct Streams {
    /// With the host at the other end, as it says.
    tcp: Vec<(TcpStream, String)>,
    udp: Vec<UdpSocket>,
}

impl Streams {
    /// Opens so many flows of each protocol from `netns` to `server`.
    pub(crate) fn open(netns: &Netns, server: SocketAddr, tcp: usize, udp: usize) -> Streams {
        let open = || -> io::Result<Streams> {
            let stream = |_| {
                let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                // The server begins, with a line that says who it is.
                let welcome = read_until(&mut stream, b"\n")?;
                let host = welcome.rsplit("host=").next().unwrap_or_default().trim().to_owned();
                Ok((stream, host))
            };
            let socket = |_| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.connect(server)?;
                Ok(socket)
            };
            let tcp = (0..tcp).map(stream).collect::<io::Result<_>>()?;
            Ok(Streams { tcp, udp: (0..udp).map(socket).collect::<io::Result<_>>()? })
        };
        let opened = netns.run(open).expect("enter the namespace");
        opened.unwrap_or_else(|error| panic!("open flows to {server}: {error}"))
    }

    /// Keeps the TCP connections to this host alone; says how many.
    pub(crate) fn keep_only(&mut self, host: &str) -> usize {
        self.tcp.retain(|(_, other)| other == host);
        self.tcp.len()
    }

    /// Has every flow carry a line there and back.
    pub(crate) fn all_answer(&mut self, when: &str) {
        let line = format!("{when}\n");
        // All at once, so that a round takes about as long as one flow.
        for (number, (stream, _)) in self.tcp.iter_mut().enumerate() {
            let sent = stream.write_all(line.as_bytes());
            sent.unwrap_or_else(|error| panic!("{when}: TCP flow {number}: send: {error}"));
        }
        for (number, (stream, _)) in self.tcp.iter_mut().enumerate() {
            let back = read_until(stream, line.as_bytes());
            back.unwrap_or_else(|error| panic!("{when}: TCP flow {number}: {error}"));
        }
        for (number, socket) in self.udp.iter().enumerate() {
            let mut buffer = [0; 2048];
            let asked = socket.send(line.as_bytes()).and_then(|_| socket.recv(&mut buffer));
            let length = asked.unwrap_or_else(|error| panic!("{when}: UDP flow {number}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(text.ends_with(&line), "{when}: UDP flow {number}: {text}");
        }
    }
}

/// Reads up to `end`.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> io::Result<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 2048];
    while !heard.ends_with(end) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => heard.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}
