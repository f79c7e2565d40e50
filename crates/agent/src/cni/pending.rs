//! DELs that came while the agent was down: one file each, in the state directory.
//!
//! Refusing them instead (code 11) would be allowed, but keeps every pod that is deleted during an
//! upgrade in Terminating. Keeping them is safe because the agent is the only one who leases
//! addresses: until it has read them nothing they release can be given to anyone. They are durable,
//! because the leases they release are. A DEL is done before an ADD of the same attachment, so an
//! old one never undoes a new ADD.
//!
//! Source: `docs/decisions/0010-a-del-without-an-agent-waits-on-disk.md`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::AttachmentKey;
use wire::cni::{MAX_MESSAGE, Operation, Paths, decode_call, parse};

/// Most DELs that wait. More than a node has pods, so it is reached only when nobody ever reads them.
const MOST: usize = 4096;

/// Puts the DEL of `key` on disk, durably; `call` is the request as it would have gone to the agent.
///
/// # Errors
/// When the disk does not take it, or when too many wait already.
pub(super) fn put(paths: &Paths, key: &AttachmentKey, call: &[u8]) -> io::Result<()> {
    let directory = paths.pending();
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    if fs::read_dir(&directory)?.count() >= MOST {
        return Err(io::Error::other(format!("{MOST} wait already; is there an agent?")));
    }
    let file = paths.pending_del(key);
    let draft = directory.join(format!(".{}.{}", key.host_link(), std::process::id()));
    let written = write_durably(&draft, call).and_then(|()| fs::rename(&draft, &file));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written?;
    File::open(&directory)?.sync_all()
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Forgets the DEL in `file`; it may be gone already.
///
/// # Errors
/// The file system's.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A DEL that waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// Where it is written.
    pub(super) file: PathBuf,
    /// The attachment, or what is wrong with the file.
    pub(super) key: Result<AttachmentKey, String>,
}

/// Every DEL that waits, in the order of their files' names; none when there is no directory.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Pending>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut waiting = Vec::new();
    for entry in entries {
        let file = entry?.path();
        // Drafts start with a dot: their DEL has not been accepted.
        let is_draft = file.file_name().is_none_or(|name| name.as_encoded_bytes()[0] == b'.');
        if !is_draft {
            waiting.push(Pending { key: read(&file), file });
        }
    }
    waiting.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(waiting)
}

fn read(file: &Path) -> Result<AttachmentKey, String> {
    let mut bytes = Vec::new();
    let limit = MAX_MESSAGE as u64 + 1;
    let opened = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    opened.map_err(|error| error.to_string())?;
    let (environment, stdin) = decode_call(&bytes).map_err(|error| error.to_string())?;
    match parse(&environment, stdin).map_err(|error| error.to_string())?.operation {
        Operation::Del(key) => Ok(key),
        Operation::Add(_) | Operation::Check(_) | Operation::Gc(_) | Operation::Status => {
            Err("not a DEL".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use fixtures::compat;
    use wire::cni::{Environment, encode_call};

    use super::*;
    use crate::scratch::Scratch;

    fn key(id: &str) -> AttachmentKey {
        AttachmentKey { container_id: id.into(), ifname: "eth0".parse().unwrap() }
    }

    fn call(command: &str, id: &str) -> Vec<u8> {
        let environment = Environment {
            command: command.into(),
            container_id: id.into(),
            ifname: "eth0".into(),
            ..Environment::default()
        };
        encode_call(&environment, b"{}")
    }

    fn paths(scratch: &Scratch) -> Paths {
        Paths { state_dir: scratch.path().join("state"), ..Paths::default() }
    }

    #[test]
    fn a_del_waits_once_until_it_is_removed() {
        let scratch = Scratch::new();
        let paths = paths(&scratch);
        assert_eq!(list(&paths.pending()).unwrap(), []);
        for _ in 0..2 {
            put(&paths, &key("a"), &call("DEL", "a")).unwrap();
        }
        let expected = Pending { file: paths.pending_del(&key("a")), key: Ok(key("a")) };
        assert_eq!(list(&paths.pending()).unwrap(), [expected]);
        for _ in 0..2 {
            remove(&paths.pending_del(&key("a"))).unwrap();
        }
        assert_eq!(list(&paths.pending()).unwrap(), []);
    }

    #[test]
    fn what_is_no_del_is_named_and_drafts_are_not_read() {
        let scratch = Scratch::new();
        let paths = paths(&scratch);
        put(&paths, &key("b"), &call("ADD", "b")).unwrap();
        fs::write(paths.pending().join("junk"), b"junk").unwrap();
        fs::write(paths.pending().join(".draft"), call("DEL", "c")).unwrap();
        let waiting = list(&paths.pending()).unwrap();
        assert_eq!(waiting.len(), 2);
        assert!(waiting.iter().all(|pending| pending.key.is_err()), "{waiting:?}");
    }

    #[test]
    fn compat_dels_of_plugins_of_all_releases_are_done() {
        let scratch = Scratch::new();
        let paths = paths(&scratch);
        let environment = Environment {
            command: "DEL".into(),
            container_id: "c0ffee".into(),
            netns: "/run/netns/blue".into(),
            ifname: "eth0".into(),
            args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0".into(),
        };
        let conf = br#"{"cniVersion":"1.0.0","name":"seaway","type":"seaway-cni","later":{}}"#;
        let call = encode_call(&environment, conf);
        compat::is_what_this_release_has("pending-del", &call);
        for (release, call) in compat::of_all_releases("pending-del") {
            put(&paths, &key("c0ffee"), &call).unwrap();
            let waiting = list(&paths.pending()).unwrap();
            assert_eq!(waiting[0].key, Ok(key("c0ffee")), "{release}");
        }
    }
}
