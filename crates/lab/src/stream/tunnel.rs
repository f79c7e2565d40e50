//! SPDY inside of a WebSocket: what current clients forward ports over.
//!
//! Source: KEP-4006; client-go `portforward.TunnelingConnection`.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::Message;

use super::Body;
use super::channels::{self, Socket};
use super::refusal::Refusal;

/// The protocol that is spoken on the WebSocket.
const PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
/// How much is under way in each direction, in bytes.
const UNDER_WAY: usize = 64 * 1024;

/// Whether a client that wants a WebSocket wants a tunnel in it.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    channels::offered(headers).split(',').any(|name| name.trim() == PROTOCOL)
}

/// The answer that opens the tunnel.
///
/// # Errors
/// The client forgets its key.
pub(super) fn accept(headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
    channels::switching(headers, PROTOCOL)
}

/// The connection inside of the tunnel, and the tunnel, which has to be polled for anything to come
/// through and ends with the connection.
pub(super) fn open(socket: Socket) -> (DuplexStream, impl Future<Output = ()>) {
    let (near, far) = tokio::io::duplex(UNDER_WAY);
    let tunnel = async move {
        let (mut sink, mut messages) = socket.split();
        let (mut from, mut to) = tokio::io::split(far);
        let inward = async {
            while let Some(Ok(message)) = messages.next().await {
                let bytes = match message {
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => break,
                    Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                        Bytes::new()
                    }
                };
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            // The other end can't have gone without ending the other direction.
            drop(to.shutdown().await);
        };
        let outward = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(UNDER_WAY);
                let read = from.read_buf(&mut buffer).await;
                let is_over = !matches!(read, Ok(1..));
                let message = Message::Binary(buffer.split().freeze());
                if is_over || sink.send(message).await.is_err() {
                    break;
                }
            }
            drop(sink.send(channels::goodbye()).await);
        };
        tokio::join!(inward, outward);
    };
    (near, tunnel)
}
