//! Ports that are named in the request, over WebSocket: two channels for each, one for bytes and one for
//! what goes wrong, and on both first the port's number.
//!
//! Source: k8s.io/cri-streaming `portforward.handleWebSocketStreams`; what kube-rs and the Python
//! client speak.

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::Answer;
use super::asked::Asked;
use super::channels::{self, Protocol, Said, Socket};
use super::forward::{self, Inside, Way};
use super::refusal::Refusal;

/// How many pieces wait for each port, and for the client.
const UNDER_WAY: usize = 8;
/// As many ports as the numbers of channels suffice for.
const MOST_PORTS: usize = 127;

/// Answers a request for the ports it names.
///
/// # Errors
/// It names none, or what is no port, or the client speaks nothing that is known here.
pub(super) fn open(asked: &Asked, request: &mut Request<Incoming>, inside: Inside) -> Answer {
    let ports = ports(asked)?;
    let (response, protocol) = channels::accept(request.headers(), &channels::PORT_PROTOCOLS)?;
    let (protocol, upgraded) = (*protocol, hyper::upgrade::on(request));
    let session = async move {
        // Fails only if the client has gone before it began.
        let Ok(upgraded) = upgraded.await else { return };
        carry(channels::socket(upgraded).await, protocol, &ports, &inside).await;
    };
    Ok((response, Some(Box::pin(session))))
}

fn ports(asked: &Asked) -> Result<Vec<u16>, Refusal> {
    let texts: Vec<&str> = asked.all("ports").flat_map(|list| list.split(',')).collect();
    if texts.is_empty() || texts.len() > MOST_PORTS {
        let why = format!("query parameter \"ports\" is required: 1 to {MOST_PORTS} ports");
        return Err(Refusal::bad_request(why));
    }
    let port = |text: &&str| match text.parse() {
        Ok(0) => Err(Refusal::bad_request(format!("port {text:?} must be > 0"))),
        Ok(port) => Ok(port),
        Err(error) => {
            Err(Refusal::bad_request(format!("unable to parse {text:?} as a port: {error}")))
        }
    };
    texts.iter().map(port).collect()
}

/// Connects the client with each of the ports until all are done or it has gone.
async fn carry(socket: Socket, protocol: Protocol, ports: &[u16], inside: &Inside) {
    let (out, mut shown) = mpsc::channel(UNDER_WAY);
    let mut inputs = Vec::new();
    let mut forwarded = Vec::new();
    for (port, number) in ports.iter().zip((0..=u8::MAX).step_by(2)) {
        let (input, said) = mpsc::channel(UNDER_WAY);
        inputs.push(Some(input));
        let data = Numbered { number, out: out.clone() };
        let error = Numbered { number: number + 1, out: out.clone() };
        forwarded.push(one(*port, inside, said, data, error));
    }
    drop(out);
    let (mut sink, mut messages) = socket.split();
    let reading = async {
        while let Some(Ok(message)) = messages.next().await {
            let Some(Said::Bytes(number, bytes)) = protocol.read(message) else { continue };
            let place = inputs.get_mut(usize::from(number / 2)).filter(|_| number % 2 == 0);
            if let Some(place) = place
                && let Some(input) = place
                && input.send(bytes).await.is_err()
            {
                // Nobody reads it any more, and it mustn't hold up the others.
                *place = None;
            }
        }
    };
    let writing = async {
        while let Some((number, bytes)) = shown.recv().await {
            if sink.send(protocol.write(number, &bytes)).await.is_err() {
                return;
            }
        }
        drop(sink.send(channels::goodbye()).await);
    };
    let working = async { tokio::join!(join_all(forwarded), writing) };
    tokio::pin!(reading);
    tokio::select! {
        () = &mut reading => {}
        // What the client still says is of no use, but not reading it would lose it our last words.
        _ = working => drop(tokio::time::timeout(super::LAST_WORDS, reading).await),
    }
}

/// Forwards one port.
async fn one(
    port: u16,
    inside: &Inside,
    said: mpsc::Receiver<Bytes>,
    data: Numbered,
    error: Numbered,
) {
    for way in [&data, &error] {
        way.send(&port.to_le_bytes()).await;
    }
    match inside.connect(port).await {
        Ok(tcp) => {
            if let Err(broken) = forward::join(tcp, said, &data).await {
                tracing::debug!("port {port} of {inside:?}: {broken}");
            }
        }
        Err(why) => drop(error.send(why.as_bytes()).await),
    }
}

/// The way back on one channel, which can't be closed alone.
struct Numbered {
    number: u8,
    out: mpsc::Sender<(u8, Bytes)>,
}

impl Way for Numbered {
    async fn send(&self, bytes: &[u8]) -> bool {
        self.out.send((self.number, Bytes::copy_from_slice(bytes))).await.is_ok()
    }

    async fn finish(&self) -> bool {
        false
    }
}
