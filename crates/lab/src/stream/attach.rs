//! Joining what a running container reads and writes.
//!
//! Source: containerd `AttachContainer`; Container API `stdin`, `stdinOnce`, `tty`.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::Answer;
use super::asked::Asked;
use super::client::{Channel, Client, End, Wanted};
use super::exec::fit;
use super::refusal::Refusal;
use super::session;
use crate::pod::{Console, Input, Output, Runner};

/// Answers a request to attach.
///
/// # Errors
/// There is no such container, it does not run, or the client speaks nothing that is known here.
pub(super) async fn answer(asked: &Asked, request: Request<Incoming>, pods: Arc<Runner>) -> Answer {
    let Asked { namespace, pod, container, .. } = asked;
    let seen = pods.see(namespace, pod).await;
    let (_, present) = seen.map_err(|_| Refusal::not_found("pod does not exist"))?;
    let seen = present.containers.into_iter().find(|seen| seen.found.container == *container);
    let console = seen.and_then(|seen| seen.console).ok_or_else(|| {
        let why = format!("container {container} not found in pod {pod}_{namespace}");
        Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    // Whether there is a terminal was decided when the container started.
    let tty = console.terminal.is_some();
    let asked = Wanted::of(asked)?;
    let wanted = Wanted { tty, stderr: asked.stderr && !tty, ..asked };
    session::open(request, wanted, move |client| run(client, console))
}

/// Connects the client with the container until either has gone. A container that reads only what its
/// first client says is told when that client says no more.
async fn run(client: Client, console: Console) {
    let Client { stdin: input, mut sizes, outlet } = client;
    let mut heard = console.listen().await;
    let outputs = async {
        while let Some((output, bytes)) = heard.recv().await {
            let channel = match output {
                Output::Stdout => Channel::Stdout,
                Output::Stderr => Channel::Stderr,
            };
            if !outlet.send(channel, bytes).await {
                return false;
            }
        }
        true
    };
    let once = console.once;
    let stdin = console.stdin.as_ref().filter(|_| outlet.wanted.stdin);
    let has_ended = tokio::select! {
        ended = outputs => ended,
        never = feed(input, stdin, once) => match never {},
        never = fit(&mut sizes, console.terminal.as_deref()) => match never {},
        () = outlet.gone() => false,
    };
    if has_ended {
        outlet.end(&End::Exit(0)).await;
    } else if let Some(stdin) = stdin.filter(|_| once) {
        // One that doesn't read any more needs no telling.
        drop(stdin.send(Input::End).await);
    }
}

/// Passes on what the client says.
async fn feed(
    mut input: mpsc::Receiver<Bytes>,
    stdin: Option<&mpsc::Sender<Input>>,
    once: bool,
) -> Infallible {
    if let Some(stdin) = stdin {
        while let Some(bytes) = input.recv().await {
            if stdin.send(Input::Bytes(bytes)).await.is_err() {
                break;
            }
        }
        if once {
            drop(stdin.send(Input::End).await);
        }
    }
    // What nobody reads is refused from here on.
    drop(input);
    pending().await
}
