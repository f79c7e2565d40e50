//! The control sockets of the supervisor and of each node: one request, one answer, and descriptors
//! that come with the answer. Requests and answers are JSON; the socket's file mode is the access
//! control.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixListener;

/// Longest request or answer, in bytes.
const LONGEST: usize = 1 << 20;

/// An answer with the descriptors that go with it.
#[derive(Debug)]
pub struct Answer<A> {
    /// What is said.
    pub body: A,
    /// What is handed over.
    pub fds: Vec<Arc<OwnedFd>>,
}

impl<A> Answer<A> {
    /// An answer that hands nothing over.
    pub fn plain(body: A) -> Self {
        Answer { body, fds: Vec::new() }
    }
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens: the lab or the node is not up.
    #[error("reach {path}: not up")]
    NotUp {
        /// The socket.
        path: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The conversation broke off.
    #[error("ask {path}")]
    Broken {
        /// The socket.
        path: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The other end says no, and why.
    #[error("{0}")]
    Refused(String),
}

/// Opens a control socket at `path` that only its owner may use, in place of any dead one.
///
/// # Errors
/// What the file system says.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests on `listener` for ever, each in a task of its own, with `answer`.
pub async fn serve<Q, A, F, W>(listener: UnixListener, answer: F)
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Fn(Q) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Result<Answer<A>, String>> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let answer = answer.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, answer).await {
                        tracing::debug!("control request: {error}");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors or memory: others may free some in a moment.
                tracing::warn!("accept a control request: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse<Q, A, F, W>(mut stream: tokio::net::UnixStream, answer: F) -> io::Result<()>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Fn(Q) -> W,
    W: Future<Output = Result<Answer<A>, String>>,
{
    let mut line = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    BufReader::new((&mut stream).take(most)).read_until(b'\n', &mut line).await?;
    let outcome = match serde_json::from_slice(&line) {
        Ok(request) => answer(request).await,
        Err(error) => Err(format!("not a request: {error}")),
    };
    let (body, fds) = match outcome {
        Ok(answer) => (Ok(answer.body), answer.fds),
        Err(refusal) => (Err(refusal), Vec::new()),
    };
    let bytes = serde_json::to_vec::<Result<A, String>>(&body)?;
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| fd.as_fd()).collect();
    let stream = stream.into_std()?;
    // An answer fits the socket's empty buffer, so this never waits.
    stream.set_nonblocking(false)?;
    kernel::process::send_fds(&stream, &bytes, &fds)
}

/// Asks whoever listens at `path`, and waits for the answer.
///
/// # Errors
/// [`AskError`]: nobody there, broken off, or refused.
pub fn ask<Q, A>(path: &Path, request: &Q) -> Result<(A, Vec<OwnedFd>), AskError>
where
    Q: Serialize,
    A: for<'de> Deserialize<'de>,
{
    let name = || path.display().to_string();
    let stream =
        UnixStream::connect(path).map_err(|cause| AskError::NotUp { path: name(), cause })?;
    let (bytes, fds) =
        exchange(stream, request).map_err(|cause| AskError::Broken { path: name(), cause })?;
    let body: Result<A, String> = serde_json::from_slice(&bytes)
        .map_err(|error| AskError::Broken { path: name(), cause: error.into() })?;
    Ok((body.map_err(AskError::Refused)?, fds))
}

fn exchange<Q: Serialize>(
    mut stream: UnixStream,
    request: &Q,
) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let (mut bytes, mut fds) = (Vec::new(), Vec::new());
    loop {
        let (more, with) = kernel::process::receive_fds(&stream, LONGEST)?;
        if more.is_empty() {
            return Ok((bytes, fds));
        }
        bytes.extend(more);
        fds.extend(with);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_answer_brings_its_descriptors_and_a_refusal_its_reason() {
        let path = std::env::temp_dir().join(format!("seaway-control-{}", std::process::id()));
        let listener = listen(&path).unwrap();
        let served = tokio::spawn(serve(listener, |number: u32| async move {
            let (reader, mut writer) = io::pipe().map_err(|error| error.to_string())?;
            write!(writer, "{number}").map_err(|error| error.to_string())?;
            if number == 0 {
                Err("zero".to_owned())
            } else {
                Ok(Answer { body: number + 1, fds: vec![Arc::new(reader.into())] })
            }
        }));
        let at = path.clone();
        tokio::task::spawn_blocking(move || {
            let (next, fds) = ask::<u32, u32>(&at, &7).unwrap();
            assert_eq!((next, fds.len()), (8, 1));
            let mut text = String::new();
            let reader = io::PipeReader::from(fds.into_iter().next().unwrap());
            reader.take(1).read_to_string(&mut text).unwrap();
            assert_eq!(text, "7");
            assert_eq!(ask::<u32, u32>(&at, &0).unwrap_err().to_string(), "zero");
            let odd = ask::<&str, u32>(&at, &"seven").unwrap_err().to_string();
            assert!(odd.starts_with("not a request"), "{odd}");
        })
        .await
        .unwrap();
        served.abort();
        std::fs::remove_file(&path).unwrap();
        let gone = ask::<u32, u32>(&path, &7).unwrap_err();
        assert!(matches!(gone, AskError::NotUp { .. }), "{gone}");
    }
}
