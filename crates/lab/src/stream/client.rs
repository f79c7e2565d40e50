//! A client of a command or a terminal, whatever protocol it speaks: what it sends, what it gets.

use std::future::pending;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::asked::Asked;
use super::refusal::Refusal;

/// How many pieces are under way in each direction before the faster side waits.
const UNDER_WAY: usize = 4;
/// Longest size of a terminal that is waited for to be complete, in bytes.
const LONGEST_SIZE: usize = 1024;

/// The streams a command or a terminal can have.
///
/// The numbers are those of the WebSocket protocol; `streamType` in SPDY has the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Wanted {
    /// The streams a request asks for.
    ///
    /// # Errors
    /// The refusal of a request for none.
    ///
    /// Source: k8s.io/cri-streaming `remotecommand.NewOptions`.
    pub(super) fn of(asked: &Asked) -> Result<Self, Refusal> {
        let tty = asked.flag("tty");
        let stdin = asked.flag("stdin") || asked.flag("input");
        let stdout = asked.flag("stdout") || asked.flag("output");
        // A terminal has one output.
        let stderr = (asked.flag("stderr") || asked.flag("error")) && !tty;
        if !stdin && !stdout && !stderr {
            let why = "you must specify at least 1 of stdin, stdout, stderr";
            return Err(Refusal::bad_request(why));
        }
        Ok(Self { stdin, stdout, stderr, tty })
    }

    /// Whether the client gets what is written to `channel`.
    pub(super) fn shows(self, channel: Channel) -> bool {
        match channel {
            Channel::Stdout => self.stdout,
            Channel::Stderr => self.stderr,
            Channel::Error => true,
            Channel::Stdin | Channel::Resize => false,
        }
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

/// How the end of a command is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndForm {
    /// In words, and not at all when it went well: protocols before v4.
    Words,
    /// As a `Status` object.
    Status,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With this code.
    Exit(i32),
    /// It could not be done.
    Failed(String),
}

/// The side of a session that works for the client.
#[derive(Debug)]
pub(super) struct Client {
    /// What it says; it ends when the client says no more.
    pub(super) stdin: mpsc::Receiver<Bytes>,
    pub(super) sizes: Sizes,
    pub(super) outlet: Outlet,
}

/// What a client gets. The session is over when this is dropped.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) wanted: Wanted,
    out: mpsc::Sender<(Channel, Bytes)>,
    form: EndForm,
}

/// The side of a session that speaks the client's protocol.
#[derive(Debug)]
pub(super) struct Wire {
    /// Dropped when the client says no more.
    pub(super) stdin: Option<mpsc::Sender<Bytes>>,
    pub(super) sizes: SizeReader,
    /// What the client gets; the session is over when it ends.
    pub(super) out: mpsc::Receiver<(Channel, Bytes)>,
}

/// Both sides of a session.
pub(super) fn session(wanted: Wanted, form: EndForm) -> (Client, Wire) {
    let (to_stdin, stdin) = mpsc::channel(UNDER_WAY);
    let (out, shown) = mpsc::channel(UNDER_WAY);
    let (size, sizes) = watch::channel(None);
    let outlet = Outlet { wanted, out, form };
    let client = Client { stdin, sizes: Sizes(sizes), outlet };
    let stdin = wanted.stdin.then_some(to_stdin);
    let sizes = SizeReader { size, buffer: Vec::new() };
    (client, Wire { stdin, sizes, out: shown })
}

impl Outlet {
    /// Sends what was written to `channel`; whether the client is still there.
    pub(super) async fn send(&self, channel: Channel, bytes: Bytes) -> bool {
        if !self.wanted.shows(channel) || bytes.is_empty() {
            return !self.out.is_closed();
        }
        self.out.send((channel, bytes)).await.is_ok()
    }

    /// Returns once the client has gone.
    pub(super) async fn gone(&self) {
        self.out.closed().await;
    }

    /// Tells how it ended, and ends the session.
    pub(super) async fn end(self, end: &End) {
        let text = match self.form {
            EndForm::Status => end.status().to_string(),
            EndForm::Words => end.words(),
        };
        self.send(Channel::Error, text.into()).await;
    }
}

impl End {
    fn words(&self) -> String {
        match self {
            Self::Exit(0) => String::new(),
            Self::Exit(code) => {
                format!("command terminated with non-zero exit code: exit status {code}")
            }
            Self::Failed(why) => format!("Internal error occurred: {why}"),
        }
    }

    /// Source: k8s.io/cri-streaming `remotecommand.ServeExec`.
    fn status(&self) -> Value {
        let words = self.words();
        match self {
            Self::Exit(0) => json!({"metadata": {}, "status": "Success"}),
            Self::Exit(code) => json!({
                "metadata": {}, "status": "Failure", "message": words, "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(why) => json!({
                "metadata": {}, "status": "Failure", "message": words, "reason": "InternalError",
                "details": {"causes": [{"message": why}]}, "code": 500,
            }),
        }
    }
}

/// The newest size of the client's terminal.
#[derive(Debug)]
pub(super) struct Sizes(watch::Receiver<Option<Size>>);

impl Sizes {
    /// The next size that nobody has been told; none comes after the client has gone.
    pub(super) async fn next(&mut self) -> Size {
        loop {
            if self.0.changed().await.is_err() {
                return pending().await;
            }
            if let Some(size) = *self.0.borrow_and_update() {
                return size;
            }
        }
    }
}

/// Reads sizes from a stream of JSON objects, however it is cut.
#[derive(Debug)]
pub(super) struct SizeReader {
    size: watch::Sender<Option<Size>>,
    buffer: Vec<u8>,
}

impl SizeReader {
    /// Takes some more of the stream. What is no size is dropped.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        let mut values = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Size>();
        let newest = values.by_ref().map_while(Result::ok).last();
        let read = values.byte_offset();
        self.buffer.drain(..read);
        if self.buffer.len() > LONGEST_SIZE {
            self.buffer.clear();
        }
        if newest.is_some() {
            self.size.send_replace(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sizes_are_read_however_they_are_cut_and_the_newest_counts() {
        let wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: true };
        let (mut client, mut wire) = session(wanted, EndForm::Status);
        wire.sizes.push(b"{\"Width\":80,\"Height\":24}\n{\"Width\":81,\"Hei");
        assert_eq!(client.sizes.next().await, Size { width: 80, height: 24 });
        wire.sizes.push(b"ght\":25}{\"Width\":82,\"Height\":26}");
        assert_eq!(client.sizes.next().await, Size { width: 82, height: 26 });
        wire.sizes.push(&[b'x'; 2000]);
        assert!(wire.sizes.buffer.is_empty());
    }

    #[test]
    fn the_end_of_a_command_is_told_as_old_and_new_clients_read_it() {
        let cases = [
            (End::Exit(0), "", r#"{"metadata":{},"status":"Success"}"#),
            (
                End::Exit(3),
                "command terminated with non-zero exit code: exit status 3",
                r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
            ),
        ];
        for (end, words, status) in cases {
            assert_eq!(end.words(), words);
            assert_eq!(end.status(), serde_json::from_str::<Value>(status).unwrap());
        }
    }
}
