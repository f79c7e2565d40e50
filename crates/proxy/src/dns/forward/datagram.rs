//! One question in datagrams.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// After how long a question is sent again.
const AGAIN: Duration = Duration::from_millis(600);

/// More than a server sends that is told 1,232.
const LARGEST: usize = 4096;

/// Asks `server` until it answers, by a socket for this question alone: its port is one that the kernel
/// draws at random, and only `server` is heard. What is no answer to it by `is_answer` is nothing
/// (DNS-93). A question that is lost is sent again as it was, so that forgers have no second one to guess.
///
/// # Errors
/// When the kernel has no socket, or says that nobody is there.
pub(super) async fn ask(
    server: SocketAddr,
    message: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let any = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut heard = vec![0; LARGEST];
    let mut again = Instant::now() + AGAIN;
    loop {
        match timeout_at(again, socket.recv(&mut heard)).await {
            Ok(len) => {
                let len = len?;
                if is_answer(&heard[..len]) {
                    heard.truncate(len);
                    return Ok(heard);
                }
            }
            Err(_) => {
                socket.send(message).await?;
                again = Instant::now() + AGAIN;
            }
        }
    }
}
