//! A command in a container.

use std::convert::Infallible;
use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

use super::Answer;
use super::asked::Asked;
use super::client::{Channel, Client, End, Outlet, Sizes, Wanted};
use super::refusal::Refusal;
use super::session;
use crate::children::Child;
use crate::pod::Runner;
use crate::pod::container::exit_code;
use crate::pod::launch::{Launch, Program};
use crate::pod::stdio::{Source, Streams};

/// Most bytes that are sent in one piece.
const PIECE: usize = 32 * 1024;
/// How long a terminal is listened to after its command has ended: others may still have it open.
const QUIET: Duration = Duration::from_millis(200);

/// Answers a request to run a command.
///
/// # Errors
/// There is no such container, it does not run, or the client speaks nothing that is known here.
pub(super) async fn answer(asked: &Asked, request: Request<Incoming>, pods: Arc<Runner>) -> Answer {
    let wanted = Wanted::of(asked)?;
    let (process, launch) = find(asked, wanted, &pods).await?;
    session::open(request, wanted, move |client| run(client, process, launch, pods))
}

/// The process to run beside, and what to run: as the container's own, but for the command.
async fn find(
    asked: &Asked,
    wanted: Wanted,
    pods: &Runner,
) -> Result<(Arc<OwnedFd>, Launch), Refusal> {
    let Asked { namespace, pod, container, .. } = asked;
    let argv: Vec<String> = asked.all("command").map(str::to_owned).collect();
    if argv.is_empty() {
        return Err(Refusal::bad_request("you must specify a command to run"));
    }
    let seen = pods.see(namespace, pod).await;
    let (_, present) = seen.map_err(|_| Refusal::not_found("pod does not exist"))?;
    let seen = present.containers.into_iter().find(|seen| seen.found.container == *container);
    let found = seen.and_then(|seen| Some((seen.found.process?.1, seen.launch?)));
    let (process, launch) = found.ok_or_else(|| {
        let why = format!("container not found ({container:?})");
        Refusal::new(http::StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    let mut launch = Launch {
        program: Program::Command(argv),
        root: None,
        terminal: wanted.tty,
        ..Launch::clone(&launch)
    };
    if wanted.tty && !launch.env.iter().any(|(name, _)| name == "TERM") {
        launch.env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    Ok((process, launch))
}

/// Runs the command for the client.
async fn run(client: Client, process: Arc<OwnedFd>, launch: Launch, pods: Arc<Runner>) {
    match pods.start_beside(&process, &launch, client.outlet.wanted.stdin).await {
        Ok((child, streams)) => attend(client, child, streams).await,
        Err(error) => {
            let why = "error executing command in container: failed to exec in container";
            client.outlet.end(&End::Failed(format!("{why}: {error}"))).await;
        }
    }
}

/// Connects the client with the command until that has ended and all it wrote is sent. A client that
/// goes away before takes its streams with it, and its terminal hangs up; what doesn't mind goes on,
/// as under the kubelet.
async fn attend(client: Client, mut child: Child, streams: Streams) {
    let Client { stdin: input, mut sizes, outlet } = client;
    let Streams { stdin, stdout, stderr, terminal } = streams;
    let (ended, has_ended) = watch::channel(false);
    let has_ended = terminal.is_some().then_some(has_ended);
    let outputs = async {
        let errors = async {
            if let Some(stderr) = stderr {
                copy(stderr, Channel::Stderr, &outlet, None).await;
            }
        };
        tokio::join!(copy(stdout, Channel::Stdout, &outlet, has_ended), errors);
    };
    let end = async {
        let status = child.wait().await;
        ended.send_replace(true);
        exit_code(status).0
    };
    let code = tokio::select! {
        ((), code) = async { tokio::join!(outputs, end) } => code,
        never = feed(input, stdin) => match never {},
        never = fit(&mut sizes, terminal.as_ref()) => match never {},
        () = outlet.gone() => return,
    };
    outlet.end(&End::Exit(code)).await;
}

/// Sends what a process writes, until nobody can write there any more or, for a terminal, until its
/// process `has_ended` and it is quiet.
async fn copy(
    mut source: Source,
    channel: Channel,
    outlet: &Outlet,
    has_ended: Option<watch::Receiver<bool>>,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        let read = tokio::select! {
            read = source.read_buf(&mut buffer) => read,
            () = quiet(has_ended.clone()) => return,
        };
        if !matches!(read, Ok(read) if read > 0)
            || !outlet.send(channel, buffer.split().freeze()).await
        {
            return;
        }
    }
}

async fn quiet(has_ended: Option<watch::Receiver<bool>>) {
    let Some(mut has_ended) = has_ended else { return pending().await };
    // The one who says so lives as long as this is asked.
    drop(has_ended.wait_for(|ended| *ended).await);
    tokio::time::sleep(QUIET).await;
}

/// Writes what the client says to the process, and then that this was all.
async fn feed(mut input: mpsc::Receiver<Bytes>, stdin: Option<pipe::Sender>) -> Infallible {
    if let Some(mut stdin) = stdin {
        while let Some(bytes) = input.recv().await {
            if stdin.write_all(&bytes).await.is_err() {
                break;
            }
        }
    }
    // What nobody reads is refused from here on.
    drop(input);
    pending().await
}

/// Gives a terminal the sizes that the client's has.
pub(super) async fn fit(sizes: &mut Sizes, terminal: Option<&OwnedFd>) -> Infallible {
    let Some(terminal) = terminal else { return pending().await };
    loop {
        let size = sizes.next().await;
        if let Err(error) = kernel::terminal::set_size(terminal, size.height, size.width) {
            tracing::debug!("set the size of a terminal: {error}");
        }
    }
}
