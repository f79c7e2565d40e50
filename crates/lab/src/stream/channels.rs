//! Commands and terminals over WebSocket: each message begins with the number of its channel.
//!
//! Source: RFC 6455; k8s.io/streaming `wsstream` (`v5.channel.k8s.io` and its predecessors).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::Body;
use super::client::{Channel, EndForm, Wire};
use super::refusal::Refusal;

const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

/// Longest message that is taken, in bytes, as golang.org/x/net/websocket has it for the kubelet.
const LONGEST: usize = 32 << 20;
/// Begins the message by which a client of v5 closes a channel, named by the next byte.
const CLOSE: u8 = 255;

pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How the messages of a connection are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol {
    name: &'static str,
    /// In base64, in text messages.
    is_text: bool,
    /// Whether channels can be closed one by one.
    closes: bool,
    pub(super) form: EndForm,
}

/// Protocols of commands and terminals, also for clients that name none.
pub(super) const PROTOCOLS: [Protocol; 6] = [
    Protocol { name: "v5.channel.k8s.io", is_text: false, closes: true, form: EndForm::Status },
    Protocol { name: "v4.channel.k8s.io", is_text: false, closes: false, form: EndForm::Status },
    Protocol {
        name: "v4.base64.channel.k8s.io",
        is_text: true,
        closes: false,
        form: EndForm::Status,
    },
    Protocol { name: "channel.k8s.io", is_text: false, closes: false, form: EndForm::Words },
    Protocol { name: "base64.channel.k8s.io", is_text: true, closes: false, form: EndForm::Words },
    Protocol { name: "", is_text: false, closes: false, form: EndForm::Words },
];

/// Protocols of ports that are named in the request.
pub(super) const PORT_PROTOCOLS: [Protocol; 3] = [PROTOCOLS[1], PROTOCOLS[2], PROTOCOLS[5]];

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    text(headers, &UPGRADE).eq_ignore_ascii_case("websocket")
}

/// The answer that makes the connection a WebSocket, and which of `known` it speaks: the first that
/// the client names.
///
/// # Errors
/// The client speaks none of them, or forgets its key.
pub(super) fn accept<'p>(
    headers: &HeaderMap,
    known: &'p [Protocol],
) -> Result<(Response<Body>, &'p Protocol), Refusal> {
    let offered = offered(headers);
    let names = offered.split(',').map(str::trim);
    let agreed = names.clone().find_map(|name| known.iter().find(|one| one.name == name));
    let agreed = agreed.ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|one| one.name).collect();
        Refusal::no_protocol(offered, &known)
    })?;
    let response = switching(headers, agreed.name)?;
    Ok((response, agreed))
}

/// The answer that makes the connection a WebSocket of this protocol.
pub(super) fn switching(
    headers: &HeaderMap,
    protocol: &'static str,
) -> Result<Response<Body>, Refusal> {
    let key = headers.get(&KEY).ok_or_else(|| {
        Refusal::bad_request("a WebSocket is opened with a Sec-WebSocket-Key header")
    })?;
    let proof = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let proof = proof.map_err(|_| Refusal::bad_request("Sec-WebSocket-Key is not text"))?;
    let body = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(ACCEPT, proof);
    if !protocol.is_empty() {
        answer.insert(PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

/// What a client offers to speak on the WebSocket, a list with commas.
pub(super) fn offered(headers: &HeaderMap) -> &str {
    text(headers, &PROTOCOL)
}

/// The message that ends a connection on which everything has been said.
pub(super) fn goodbye() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

/// The WebSocket on an upgraded connection.
pub(super) async fn socket(upgraded: Upgraded) -> Socket {
    let limits =
        WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(limits)).await
}

/// Carries a session until it is over or the client has gone.
pub(super) async fn carry(socket: Socket, protocol: Protocol, wire: Wire) {
    let Wire { stdin, mut sizes, mut out } = wire;
    let (mut sink, mut messages) = socket.split();
    let reading = async {
        let mut stdin = stdin;
        while let Some(Ok(message)) = messages.next().await {
            let Some(message) = protocol.read(message) else { continue };
            match message {
                Said::Bytes(STDIN, bytes) => {
                    if let Some(to) = &stdin
                        && to.send(bytes).await.is_err()
                    {
                        // Nobody reads it any more; what the session says is still wanted.
                        stdin = None;
                    }
                }
                Said::Bytes(RESIZE, bytes) => sizes.push(&bytes),
                Said::Closed(STDIN) => stdin = None,
                Said::Bytes(..) | Said::Closed(_) => {}
            }
        }
    };
    let writing = async {
        // Tells clients that wait for it that the connection stands.
        let mut sent = sink.send(protocol.write(Channel::Stdout as u8, &[])).await;
        while let (Ok(()), Some((channel, bytes))) = (&sent, out.recv().await) {
            sent = sink.send(protocol.write(channel as u8, &bytes)).await;
        }
        if sent.is_ok() {
            drop(sink.send(goodbye()).await);
        }
    };
    tokio::pin!(reading, writing);
    tokio::select! {
        () = &mut reading => {}
        // What the client still says is of no use, but not reading it would lose it our last words.
        () = &mut writing => drop(tokio::time::timeout(super::LAST_WORDS, reading).await),
    }
}

/// What a client says, and on which channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Bytes(u8, Bytes),
    Closed(u8),
}

const STDIN: u8 = Channel::Stdin as u8;
const RESIZE: u8 = Channel::Resize as u8;

impl Protocol {
    /// What a message says; `None` if that is nothing.
    pub(super) fn read(&self, message: Message) -> Option<Said> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                return None;
            }
        };
        let (first, rest) = bytes.split_first()?;
        if self.closes && *first == CLOSE {
            return Some(Said::Closed(*rest.first()?));
        }
        if self.is_text {
            let bytes = STANDARD.decode(rest).ok()?;
            return Some(Said::Bytes(first.checked_sub(b'0')?, bytes.into()));
        }
        Some(Said::Bytes(*first, bytes.slice(1..)))
    }

    /// The message that says `bytes` on a channel.
    pub(super) fn write(&self, channel: u8, bytes: &[u8]) -> Message {
        if self.is_text {
            return Message::text(format!("{channel}{}", STANDARD.encode(bytes)));
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.put_u8(channel);
        message.extend_from_slice(bytes);
        Message::Binary(message.freeze())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_channel_in_every_protocol() {
        let [v5, v4, text, ..] = PROTOCOLS;
        let stdin = |bytes: &'static [u8]| Some(Said::Bytes(0, bytes.into()));
        let binary = |bytes: &'static [u8]| Message::Binary(bytes.into());
        assert_eq!(v4.read(binary(b"\x00hi")), stdin(b"hi"));
        assert_eq!(v5.read(binary(b"\xff\x00")), Some(Said::Closed(0)));
        assert_eq!(v4.read(binary(b"\xff\x00")), Some(Said::Bytes(255, b"\0"[..].into())));
        assert_eq!(v5.read(binary(b"\xff")), None);
        assert_eq!(v5.read(binary(b"")), None);
        assert_eq!(text.read(Message::text("0aGk=")), stdin(b"hi"));
        assert_eq!(text.read(Message::text("0!")), None);
        assert_eq!(v4.write(2, b"x"), binary(b"\x02x"));
        assert_eq!(text.write(3, b"x"), Message::text("3eA=="));
    }

    #[test]
    fn the_first_protocol_that_both_know_is_spoken() {
        let cases = [
            ("v5.channel.k8s.io", Some("v5.channel.k8s.io")),
            ("v9.channel.k8s.io, v4.channel.k8s.io", Some("v4.channel.k8s.io")),
            ("", Some("")),
            ("soap", None),
        ];
        for (offered, agreed) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
            headers.insert(PROTOCOL, HeaderValue::from_static(offered));
            let accepted = accept(&headers, &PROTOCOLS);
            assert_eq!(accepted.as_ref().ok().map(|(_, protocol)| protocol.name), agreed);
            if let Ok((response, _)) = accepted {
                assert_eq!(response.headers()[&ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            }
        }
    }
}
