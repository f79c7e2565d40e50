//! What can be asked on a node's control socket.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::control::Answer;
use crate::enter::{ALL, Entrance};

/// A request to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A way into the node itself.
    Node,
}

/// Answers one request.
///
/// # Errors
/// What is wrong, for the person who asked.
pub(super) async fn answer(
    request: Request,
    _context: Arc<Context>,
) -> Result<Answer<Entrance>, String> {
    match request {
        Request::Node => node().map_err(|error| format!("open the node: {error}")),
    }
}

/// The node's own process is PID 1 of its PID namespace.
fn node() -> io::Result<Answer<Entrance>> {
    let pidfd = kernel::process::open_pidfd(1)?;
    let entrance = Entrance { namespaces: vec![ALL.bits()], ..Entrance::default() };
    Ok(Answer { body: entrance, fds: vec![Arc::new(pidfd)] })
}
