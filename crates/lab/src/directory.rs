//! A lab's directory: the only thing a lab leaves in the machine's file system, and who holds it.
//!
//! ```text
//! /run/seaway/labs/<name>/        SEAWAY_LAB_DIR overrides the parent
//!     lock                        held (flock) exactly as long as the lab is up
//!     spec.json                   what was asked for
//!     kubeconfig                  for people and kubectl
//!     merged                      kubeconfigs of people that the lab was put into
//!     control.sock                the supervisor's control socket
//!     supervisor.log
//!     images/                     what archives were unpacked to; the nodes' /run/images
//!     nodes/<node>/node.log, agent.log
//!     nodes/<node>/run/           the node's /run
//! ```

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::spec::LabName;

/// Environment variable that names the parent of all labs' directories.
pub const PARENT_VARIABLE: &str = "SEAWAY_LAB_DIR";

const DEFAULT_PARENT: &str = "/run/seaway/labs";

/// The directory of one lab, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
}

/// What a node has in the lab's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDirectory {
    path: PathBuf,
}

/// The right to be the lab of this directory: an exclusive lock that ends with the last process that
/// holds the file.
#[derive(Debug)]
pub struct Claim {
    /// The locked file.
    pub lock: File,
    /// Whether a lab that had died without `down` left something here.
    pub found_remains: bool,
}

/// A lab's directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A lab of this name is up, or being made or removed right now.
    #[error("lab {0} is up already; `seaway lab down --name {0}` takes it down")]
    Up(String),
    /// There are files here, and none that a lab has made.
    #[error("{0} is not empty and not a lab's; choose another --name or {PARENT_VARIABLE}")]
    Foreign(String),
    /// The file system refused.
    #[error("{attempt} {path}")]
    Files {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

impl Directory {
    /// The directory of the lab with this name.
    pub fn of(name: &LabName) -> Self {
        Directory { path: parent().join(name.as_str()) }
    }

    /// The directory at `path`, as the supervisor is told it.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Directory { path: path.into() }
    }

    /// Names of all labs that have a directory, up or not, in their order.
    ///
    /// # Errors
    /// When the parent exists and cannot be read.
    pub fn all() -> io::Result<Vec<LabName>> {
        let entries = match std::fs::read_dir(parent()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.parse::<LabName>().ok());
            names.extend(name.filter(|name| Directory::of(name).exists()));
        }
        names.sort();
        Ok(names)
    }

    /// Makes the directory if need be and takes its lock.
    ///
    /// # Errors
    /// [`ClaimError::Up`] when another process holds it, [`ClaimError::Foreign`] when it was never a
    /// lab's, else what the file system says.
    pub fn claim(&self) -> Result<Claim, ClaimError> {
        let failed = |attempt, path: &Path| {
            let path = path.display().to_string();
            move |cause| ClaimError::Files { attempt, path, cause }
        };
        loop {
            let found_remains = self.spec_file().exists();
            std::fs::create_dir_all(&self.path).map_err(failed("make directory", &self.path))?;
            let path = self.lock_file();
            // A lab has its lock before and after any other file; asked twice, because one may begin
            // or end meanwhile.
            let mut files = std::fs::read_dir(&self.path).map_err(failed("list", &self.path))?;
            if !self.exists() && files.next().is_some() && !self.exists() {
                return Err(ClaimError::Foreign(self.path.display().to_string()));
            }
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(failed("open", &path))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(ClaimError::Up(self.name())),
                Err(TryLockError::Error(cause)) => return Err(failed("lock", &path)(cause)),
            }
            // Between open and lock a `down` may have removed the file: then it is not the lock any
            // more, and the next round makes a new one.
            if is_same_file(&lock, &path) {
                return Ok(Claim { lock, found_remains });
            }
        }
    }

    /// Whether a lab is up here: its supervisor listens. Asking the lock instead would take it for a
    /// moment, and fail an `up` of that moment.
    pub fn is_up(&self) -> bool {
        UnixStream::connect(self.control_socket()).is_ok()
    }

    /// Whether a lab is or was here. A directory of that name that no lab has made is not ours.
    pub fn exists(&self) -> bool {
        self.lock_file().exists()
    }

    /// Removes everything inside but the lock.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear(&self) -> io::Result<()> {
        remove_all_but(&self.path, &["lock"])
    }

    /// Removes everything, the lock last, so that whoever holds it stays in charge until the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> io::Result<()> {
        self.clear()?;
        std::fs::remove_file(self.lock_file())?;
        match std::fs::remove_dir(&self.path) {
            // A new lab of the same name has just begun here.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its last component: the lab's name.
    pub fn name(&self) -> String {
        self.path.file_name().map(OsString::from).unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Held exactly as long as the lab is up.
    pub fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// What was asked for.
    pub fn spec_file(&self) -> PathBuf {
        self.path.join("spec.json")
    }

    /// The images that were loaded.
    pub fn images(&self) -> PathBuf {
        self.path.join("images")
    }

    /// How people and kubectl reach the lab.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    /// The kubeconfigs of people that the lab was put into, a path in each line.
    pub fn merged_file(&self) -> PathBuf {
        self.path.join("merged")
    }

    /// The supervisor's control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// What the supervisor has to say.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// What node `name` has here.
    pub fn node(&self, name: &str) -> NodeDirectory {
        NodeDirectory { path: self.path.join("nodes").join(name) }
    }
}

impl NodeDirectory {
    /// The directory at `path`, as the node is told it.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        NodeDirectory { path: path.into() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lab's images, which the node sees in its own `/run`.
    pub fn images(&self) -> PathBuf {
        self.path.join("../../images")
    }

    /// What the node should be.
    pub fn settings_file(&self) -> PathBuf {
        self.path.join("node.json")
    }

    /// What the node's own process has to say.
    pub fn log(&self) -> PathBuf {
        self.path.join("node.log")
    }

    /// What its agent has to say.
    pub fn agent_log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// The node's `/run`, seen from the machine.
    pub fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// There as long as the node is paused, and says so to whoever would wait for it.
    pub fn pause_file(&self) -> PathBuf {
        self.path.join("paused")
    }

    /// Whether the node is paused.
    pub fn is_paused(&self) -> bool {
        self.pause_file().exists()
    }

    /// Removes what is in the memory of a machine, and not on its disk: all of `/run` but logs, the
    /// agent's state and what the runtime keeps of each sandbox.
    ///
    /// # Errors
    /// What the file system says.
    pub fn forget_memory(&self) -> io::Result<()> {
        let run = self.run();
        remove_all_but(&run, &["log", "seaway", "cni"])?;
        remove_all_but(&run.join("seaway"), &["state"])?;
        remove_all_but(&run.join("cni"), &["results"])
    }

    /// The node's control socket, seen from the machine.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control.sock")
    }

    /// The socket of the node's server for logs and commands, seen from the machine.
    pub fn pods_socket(&self) -> PathBuf {
        self.run().join("pods.sock")
    }
}

/// Empties `folder` of everything but what has one of these names. A folder that is not there is
/// empty.
fn remove_all_but(folder: &Path, kept: &[&str]) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if kept.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn parent() -> PathBuf {
    std::env::var_os(PARENT_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_PARENT), PathBuf::from)
}

fn is_same_file(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(found)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn scratch(name: &str) -> Directory {
        Directory::at(std::env::temp_dir().join(format!("{name}-{}", std::process::id())))
    }

    #[test]
    fn a_directory_has_one_holder_and_is_free_after_it() {
        let directory = scratch("seaway-lab-held");
        let claim = directory.claim().unwrap();
        assert!(!claim.found_remains);
        assert!(!directory.is_up());
        let listener = UnixListener::bind(directory.control_socket()).unwrap();
        assert!(directory.is_up());
        drop(listener);
        assert!(!directory.is_up());
        let refused = directory.claim().unwrap_err().to_string();
        let name = directory.name();
        let expected =
            format!("lab {name} is up already; `seaway lab down --name {name}` takes it down");
        assert_eq!(refused, expected);
        drop(claim);
        directory.claim().unwrap();
        directory.remove().unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn what_a_dead_lab_left_is_noticed_and_cleared() {
        let directory = scratch("seaway-lab-dead");
        std::fs::create_dir_all(directory.node("node-1").run().join("deep")).unwrap();
        std::fs::write(directory.spec_file(), "{").unwrap();
        std::fs::write(directory.lock_file(), "").unwrap();
        assert!(!directory.is_up());
        let claim = directory.claim().unwrap();
        assert!(claim.found_remains);
        directory.clear().unwrap();
        assert!(directory.claim().is_err());
        assert!(!directory.spec_file().exists());
        directory.remove().unwrap();
        assert!(!directory.exists());
    }
    #[test]
    fn a_directory_that_no_lab_has_made_is_left_alone() {
        let directory = scratch("seaway-lab-foreign");
        std::fs::create_dir_all(directory.path()).unwrap();
        std::fs::write(directory.path().join("letter"), "dear").unwrap();
        assert!(!directory.exists());
        let refused = directory.claim().unwrap_err().to_string();
        assert!(refused.contains(" is not empty and not a lab's"), "{refused}");
        assert!(!directory.lock_file().exists());
        std::fs::remove_dir_all(directory.path()).unwrap();
    }
}
