//! The sockets that an agent answers at, by name, so that the next agent gets them open as they are:
//! whoever has connected meanwhile waits in them and is not turned away.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::sys::socket::{Backlog, listen};
use tokio::net::{TcpListener, UnixListener};

/// How many may wait in a socket for somebody to accept them, as in tokio's own.
const BACKLOG: i32 = 1024;

/// Something open that can be given away.
pub(crate) trait Open: AsFd + Send + Sync {}

impl<T: AsFd + Send + Sync> Open for T {}

/// Sockets by name, open for as long as somebody has them.
#[derive(Default, Clone)]
pub(crate) struct Sockets {
    /// What this agent has open.
    open: Arc<Mutex<BTreeMap<String, Weak<dyn Open>>>>,
    /// What the agent before it had open and nobody has asked for yet.
    inherited: Arc<Mutex<BTreeMap<String, OwnedFd>>>,
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |all: Vec<String>| all.join(", ");
        let open = self.all().into_iter().map(|(name, _)| name).collect();
        let inherited = lock(&self.inherited).keys().cloned().collect();
        f.debug_struct("Sockets")
            .field("open", &names(open))
            .field("inherited", &names(inherited))
            .finish()
    }
}

impl Sockets {
    /// Nothing open, but what comes from the agent before.
    pub(crate) fn inheriting(inherited: BTreeMap<String, OwnedFd>) -> Self {
        Sockets { inherited: Arc::new(Mutex::new(inherited)), ..Sockets::default() }
    }

    /// The listener at the unix socket `path`, for this user alone: the one that was inherited under
    /// `name`, else a new one. A dead one at that path is replaced in one step, so nobody ever finds none.
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the directory cannot be made or does not take a socket.
    pub(crate) fn unix(&self, name: &str, path: &Path) -> io::Result<Arc<UnixListener>> {
        let listener = match self.take(name) {
            Some(fd) => {
                // Who connects sees as its peer whoever called listen last (unix(7), SO_PEERCRED).
                listen(&fd, Backlog::new(BACKLOG)?)?;
                UnixListener::from_std(fd.into())
            }
            None => bind(path),
        };
        Ok(self.keep(name, listener?))
    }

    /// The listener at `addr`: the one that was inherited, else a new one.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) async fn tcp(&self, addr: SocketAddr) -> io::Result<Arc<TcpListener>> {
        let name = format!("tcp {addr}");
        let listener = match self.take(&name) {
            Some(fd) => TcpListener::from_std(fd.into()),
            None => TcpListener::bind(addr).await,
        };
        Ok(self.keep(&name, listener?))
    }

    /// What was inherited under `name`, once.
    pub(crate) fn take(&self, name: &str) -> Option<OwnedFd> {
        lock(&self.inherited).remove(name)
    }

    /// Notes what is open under `name`, for as long as somebody holds it.
    pub(crate) fn keep<T: Open + 'static>(&self, name: &str, socket: T) -> Arc<T> {
        let socket = Arc::new(socket);
        let open: Weak<dyn Open> = Arc::downgrade(&(Arc::clone(&socket) as Arc<dyn Open>));
        let mut all = lock(&self.open);
        all.retain(|_, socket| socket.strong_count() > 0);
        all.insert(name.to_owned(), open);
        socket
    }

    /// Everything that is open.
    pub(crate) fn all(&self) -> Vec<(String, Arc<dyn Open>)> {
        let open = lock(&self.open);
        open.iter().filter_map(|(name, socket)| Some((name.clone(), socket.upgrade()?))).collect()
    }

    /// Has everything that is open show this process as the one that listens, as it did before another
    /// one was given a copy (unix(7), SO_PEERCRED).
    pub(crate) fn reclaim(&self) {
        for (name, socket) in self.all() {
            let listening = Backlog::new(BACKLOG).and_then(|backlog| listen(&socket, backlog));
            if let Err(error) = listening {
                tracing::warn!("listen at {name} again: {error}");
            }
        }
    }

    /// Closes what was inherited under names that begin like this and nobody has asked for: the settings
    /// or the cluster have become others.
    pub(crate) fn close_inherited(&self, prefix: &str) {
        lock(&self.inherited).retain(|name, _| !name.starts_with(prefix));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps are whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}
