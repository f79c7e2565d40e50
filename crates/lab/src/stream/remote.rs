//! Commands and terminals over SPDY: a stream for each of what the client wants.
//!
//! Source: k8s.io/cri-streaming `remotecommand.createHTTPStreamStreams`.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, oneshot};

use super::client::{Channel, EndForm, Wanted, Wire};
use super::spdy::{self, Stream};

/// Protocols of commands and terminals, newest first; the last is that of clients that name none.
pub(super) const PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// How long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the end of a command is told in `protocol`.
pub(super) fn form(protocol: &str) -> EndForm {
    if protocol == PROTOCOLS[0] { EndForm::Status } else { EndForm::Words }
}

/// Carries a session until it is over or the client has gone. `begin` is told once the client has
/// opened all its streams.
pub(super) async fn carry(
    upgraded: Upgraded,
    protocol: &str,
    wanted: Wanted,
    wire: Wire,
    begin: oneshot::Sender<()>,
) {
    let (mut connection, traffic) =
        spdy::connect(TokioIo::new(upgraded), |headers| channel(headers).is_some());
    let resizes = protocol == PROTOCOLS[0] || protocol == PROTOCOLS[1];
    let expected = [true, wanted.stdin, wanted.stdout, wanted.stderr, wanted.tty && resizes];
    let expected = expected.iter().filter(|wanted| **wanted).count();
    let work = async move {
        let gathered = gather(&mut connection.streams, expected);
        if let Ok(Some(streams)) = tokio::time::timeout(PATIENCE, gathered).await {
            // Nobody listens only if the node goes down.
            begin.send(()).ok();
            pump(streams, wire).await;
        }
    };
    tokio::pin!(traffic);
    tokio::select! {
        () = &mut traffic => {}
        () = work => traffic.await,
    }
}

/// What a stream is for.
fn channel(headers: &wire::spdy::Headers) -> Option<Channel> {
    match headers.get("streamtype")?.as_str() {
        "stdin" => Some(Channel::Stdin),
        "stdout" => Some(Channel::Stdout),
        "stderr" => Some(Channel::Stderr),
        "error" => Some(Channel::Error),
        "resize" => Some(Channel::Resize),
        _ => None,
    }
}

/// The streams, once there are as many as `expected`; `None` if the client goes before.
async fn gather(
    streams: &mut mpsc::Receiver<Stream>,
    expected: usize,
) -> Option<BTreeMap<Channel, Stream>> {
    let mut gathered = BTreeMap::new();
    while gathered.len() < expected {
        let stream = streams.recv().await?;
        if let Some(channel) = channel(&stream.headers) {
            gathered.insert(channel, stream);
        }
    }
    Some(gathered)
}

/// Moves bytes between the client's streams and the session until that is over.
async fn pump(mut streams: BTreeMap<Channel, Stream>, wire: Wire) {
    let Wire { stdin, mut sizes, mut out } = wire;
    let (typed, resized) = (streams.remove(&Channel::Stdin), streams.remove(&Channel::Resize));
    let input = async {
        if let (Some(mut typed), Some(stdin)) = (typed, stdin) {
            while let Some(bytes) = typed.data.recv().await {
                if stdin.send(bytes).await.is_err() {
                    // Nobody reads it any more, and it mustn't hold up what else the client says.
                    typed.data.close();
                }
            }
        }
    };
    let sizes = async {
        if let Some(mut resized) = resized {
            while let Some(bytes) = resized.data.recv().await {
                sizes.push(&bytes);
            }
        }
    };
    let output = async {
        while let Some((channel, bytes)) = out.recv().await {
            if let Some(stream) = streams.get(&channel)
                && !stream.answer.send(&bytes).await
            {
                return;
            }
        }
        for stream in streams.values() {
            stream.answer.finish().await;
        }
    };
    tokio::select! {
        () = output => {}
        () = async { tokio::join!(input, sizes, std::future::pending::<()>()); } => {}
    }
}
