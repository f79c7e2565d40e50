//! A SPDY connection with a client: the streams it opens, each with what it says and a way to answer.
//!
//! Clients of Kubernetes keep no windows (see `wire::spdy`), so a stream whose bytes nobody takes
//! holds up the others of its connection once its queue is full, as with the kubelet.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use wire::spdy::{
    CANCEL, Decoder, Encoder, Frame, Headers, LONGEST_DATA, PROTOCOL_ERROR, REFUSED_STREAM,
    StreamId,
};

use super::Body;
use super::refusal::Refusal;

/// Header in which clients say what they can speak on the streams.
const PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// The protocol below that.
const SPDY: &str = "SPDY/3.1";

/// How many pieces of at most 32 KiB wait on each stream, and on the connection for its client.
const UNDER_WAY: usize = 8;
/// How many streams a client may have open at once.
const MOST_STREAMS: usize = 1024;

/// The streams a client opens. The connection is over when this and all streams are dropped.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) streams: mpsc::Receiver<Stream>,
    _frames: mpsc::Sender<Frame>,
}

/// One stream of a client.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) headers: Headers,
    /// What the client says, until it says no more.
    pub(super) data: mpsc::Receiver<Bytes>,
    /// Ready once the client wants no more of the stream.
    pub(super) reset: oneshot::Receiver<()>,
    pub(super) answer: Answerer,
}

/// The way back on a stream.
#[derive(Debug)]
pub(super) struct Answerer {
    id: StreamId,
    frames: mpsc::Sender<Frame>,
}

/// The answer that makes the connection SPDY, and which of `known` it speaks: the first that the
/// client names, or the last that is known to one that names none.
///
/// # Errors
/// The client speaks none of them, or doesn't speak SPDY.
///
/// Source: k8s.io/streaming `httpstream.Handshake`.
pub(super) fn accept(
    headers: &HeaderMap,
    known: &[&'static str],
) -> Result<(Response<Body>, &'static str), Refusal> {
    let wants_spdy = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    if !wants_spdy.is_some_and(|wanted| wanted.eq_ignore_ascii_case(SPDY)) {
        let why = "unable to upgrade: missing upgrade headers in request";
        return Err(Refusal::bad_request(why));
    }
    let offered = headers.get_all(PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|list| list.split(',')).map(str::trim).collect();
    let agreed = match offered.as_slice() {
        [] => known.last(),
        offered => offered.iter().find_map(|name| known.iter().find(|one| *one == name)),
    };
    let agreed = agreed.ok_or_else(|| Refusal::no_protocol(&offered.join(" "), known))?;
    let body = Empty::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(UPGRADE, HeaderValue::from_static(SPDY));
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(PROTOCOL, HeaderValue::from_static(agreed));
    Ok((response, agreed))
}

/// The connection on `io`, and its traffic, which has to be polled for anything to happen and ends
/// with the connection. Streams whose headers are not `welcome` are refused.
pub(super) fn connect<C>(
    io: C,
    welcome: fn(&Headers) -> bool,
) -> (Connection, impl Future<Output = ()>)
where
    C: AsyncRead + AsyncWrite,
{
    let (opened, streams) = mpsc::channel(UNDER_WAY);
    let (frames, said) = mpsc::channel(UNDER_WAY);
    let reader =
        Reader { open: BTreeMap::new(), last: 0, welcome, opened, frames: frames.downgrade() };
    let traffic = async {
        let (from, to) = tokio::io::split(io);
        let (reading, writing) = (reader.read(from), write(to, said));
        tokio::pin!(reading, writing);
        tokio::select! {
            () = &mut reading => {}
            // What the client still says is of no use, but not reading it would lose it our last words.
            () = &mut writing => drop(tokio::time::timeout(super::LAST_WORDS, reading).await),
        }
    };
    (Connection { streams, _frames: frames }, traffic)
}

impl Answerer {
    /// Sends bytes; whether the client is still there.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(LONGEST_DATA) {
            let frame = Frame::Data { id: self.id, fin: false, bytes: piece.to_vec() };
            if self.frames.send(frame).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that this was all.
    pub(super) async fn finish(&self) {
        let end = Frame::Data { id: self.id, fin: true, bytes: Vec::new() };
        // A client that has gone needs no telling.
        drop(self.frames.send(end).await);
    }

    /// Ends the stream at once, in both directions.
    pub(super) async fn cancel(&self) {
        drop(self.frames.send(Frame::RstStream { id: self.id, status: CANCEL }).await);
    }
}

/// The reading side of a connection.
struct Reader {
    open: BTreeMap<StreamId, Open>,
    /// The newest stream.
    last: StreamId,
    welcome: fn(&Headers) -> bool,
    opened: mpsc::Sender<Stream>,
    /// Not strong, since those who have something to say decide when the connection is over.
    frames: mpsc::WeakSender<Frame>,
}

/// A stream as its connection sees it.
struct Open {
    /// Dropped when the client says no more.
    data: Option<mpsc::Sender<Bytes>>,
    /// Dropped when the client wants no more.
    reset: oneshot::Sender<()>,
}

impl Reader {
    /// Reads until the client has gone, says that it goes, or says what is not SPDY.
    async fn read(mut self, mut from: impl AsyncRead + Unpin) {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; LONGEST_DATA];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            decoder.push(&buffer[..read]);
            loop {
                match decoder.next_frame() {
                    Ok(Some(Frame::GoAway(_))) => return,
                    Ok(Some(frame)) => self.take(frame).await,
                    Ok(None) => break,
                    Err(error) => return tracing::debug!("a client of a pod: {error}"),
                }
            }
        }
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::SynStream { id, fin, headers } => self.open(id, fin, headers).await,
            Frame::Data { id, fin, bytes } => {
                let Some(open) = self.open.get_mut(&id) else { return };
                if let Some(data) = open.data.as_ref().filter(|_| !bytes.is_empty())
                    && data.send(bytes.into()).await.is_err()
                {
                    open.data = None;
                }
                if fin {
                    open.data = None;
                }
            }
            Frame::Headers { id, fin: true, .. } => {
                self.open.entry(id).and_modify(|open| open.data = None);
            }
            Frame::RstStream { id, .. } => drop(self.open.remove(&id)),
            Frame::Ping(number) if number % 2 == 1 => self.say(Frame::Ping(number)).await,
            Frame::Ping(_)
            | Frame::SynReply { .. }
            | Frame::Headers { .. }
            | Frame::GoAway(_)
            | Frame::Other => {}
        }
    }

    async fn open(&mut self, id: StreamId, fin: bool, headers: Headers) {
        if id.is_multiple_of(2) || id <= self.last {
            return self.say(Frame::RstStream { id, status: PROTOCOL_ERROR }).await;
        }
        self.last = id;
        // Those that nobody works with any more are over.
        self.open.retain(|_, open| !open.reset.is_closed());
        let frames = self.frames.upgrade().filter(|_| self.open.len() < MOST_STREAMS);
        let frames = frames.filter(|_| (self.welcome)(&headers));
        let Some(frames) = frames else {
            return self.say(Frame::RstStream { id, status: REFUSED_STREAM }).await;
        };
        self.say(Frame::SynReply { id, fin: false, headers: Headers::new() }).await;
        let (to_data, data) = mpsc::channel(UNDER_WAY);
        let (to_reset, reset) = oneshot::channel();
        let answer = Answerer { id, frames };
        let open = Open { data: (!fin).then_some(to_data), reset: to_reset };
        self.open.insert(id, open);
        // Nobody takes it only if the session is over.
        drop(self.opened.send(Stream { id, headers, data, reset, answer }).await);
    }

    /// Tells the client something about the connection.
    async fn say(&self, frame: Frame) {
        if let Some(frames) = self.frames.upgrade() {
            // Fails only if the connection is over.
            drop(frames.send(frame).await);
        }
    }
}

/// Writes what is said until nobody has anything to say, and then goodbye.
async fn write(mut to: impl AsyncWrite + Unpin, mut said: mpsc::Receiver<Frame>) {
    let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
    let mut frames = Vec::with_capacity(UNDER_WAY);
    while said.recv_many(&mut frames, UNDER_WAY).await > 0 {
        bytes.clear();
        frames.drain(..).for_each(|frame| encoder.write(&frame, &mut bytes));
        if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    bytes.clear();
    encoder.write(&Frame::GoAway(0), &mut bytes);
    if to.write_all(&bytes).await.is_ok() {
        // Fails only if the client has gone.
        drop(to.shutdown().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client's side of a connection, as bytes.
    struct Peer {
        io: tokio::io::DuplexStream,
        encoder: Encoder,
        decoder: Decoder,
    }

    impl Peer {
        async fn say(&mut self, frame: Frame) {
            let mut bytes = Vec::new();
            self.encoder.write(&frame, &mut bytes);
            self.io.write_all(&bytes).await.unwrap();
        }

        async fn hear(&mut self) -> Option<Frame> {
            let mut buffer = [0; 1000];
            loop {
                if let Some(frame) = self.decoder.next_frame().unwrap() {
                    return Some(frame);
                }
                match self.io.read(&mut buffer).await.unwrap() {
                    0 => return None,
                    read => self.decoder.push(&buffer[..read]),
                }
            }
        }
    }

    fn syn(id: StreamId, headers: &[(&str, &str)]) -> Frame {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Frame::SynStream { id, fin: false, headers: headers.iter().map(pair).collect() }
    }

    fn data(id: StreamId, bytes: &[u8], fin: bool) -> Frame {
        Frame::Data { id, fin, bytes: bytes.to_vec() }
    }

    #[tokio::test]
    async fn streams_are_answered_refused_pinged_and_said_goodbye_to() {
        let (io, theirs) = tokio::io::duplex(100);
        let mut peer = Peer { io, encoder: Encoder::default(), decoder: Decoder::default() };
        let (mut connection, traffic) = connect(theirs, |headers| !headers.contains_key("bad"));
        let traffic = tokio::spawn(traffic);
        peer.say(syn(1, &[("streamtype", "data")])).await;
        let empty = Headers::new();
        assert_eq!(peer.hear().await, Some(Frame::SynReply { id: 1, fin: false, headers: empty }));
        peer.say(data(1, b"question", true)).await;
        let mut stream = connection.streams.recv().await.unwrap();
        assert_eq!(stream.headers["streamtype"], "data");
        assert_eq!(stream.data.recv().await.as_deref(), Some(&b"question"[..]));
        assert_eq!(stream.data.recv().await, None);
        for (id, headers, status) in [
            (2, &[][..], PROTOCOL_ERROR),
            (1, &[], PROTOCOL_ERROR),
            (3, &[("bad", "1")], REFUSED_STREAM),
        ] {
            peer.say(syn(id, headers)).await;
            assert_eq!(peer.hear().await, Some(Frame::RstStream { id, status }));
        }
        peer.say(Frame::Ping(7)).await;
        assert_eq!(peer.hear().await, Some(Frame::Ping(7)));
        assert!(stream.answer.send(b"answer").await);
        stream.answer.finish().await;
        assert_eq!(peer.hear().await, Some(data(1, b"answer", false)));
        assert_eq!(peer.hear().await, Some(data(1, b"", true)));
        peer.say(Frame::RstStream { id: 1, status: CANCEL }).await;
        assert!((&mut stream.reset).await.is_err(), "it is reset");
        drop((stream, connection));
        assert_eq!(peer.hear().await, Some(Frame::GoAway(0)));
        assert_eq!(peer.hear().await, None);
        drop(peer);
        traffic.await.unwrap();
    }
}
