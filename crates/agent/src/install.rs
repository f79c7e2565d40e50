//! What a container runtime finds of Seaway: the plugin's binary and its network configuration.
//!
//! A runtime counts a node as ready once there is a configuration, so that is written last, when ADDs
//! can be served, and stays until `seaway agent cleanup` (P-3, CRI-1). Both files appear whole or not
//! at all: written beside their place, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use wire::cni::{Conflist, Paths};

/// Name of the plugin's binary.
pub const PLUGIN: &str = "seaway-cni";

/// Name of the plugin that raises `lo`; Seaway's is a link to [`PLUGIN`].
const LOOPBACK: &str = "loopback";

/// Name of the configuration. Runtimes take the first in the order of names, and those of flannel, kindnet,
/// Calico and others begin with 10.
pub const CONFLIST: &str = "05-seaway.conflist";

/// What agents called it once. It is removed wherever the other one is written or removed.
const FORMER_CONFLIST: &str = "10-seaway.conflist";

/// Endings of files that runtimes take for configurations (libcni `ConfFiles` as containerd and CRI-O call it).
const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];

/// Name of the network, by which GC knows its attachments.
pub const NETWORK: &str = "seaway";

/// A file could not be put in its place.
#[derive(Debug, thiserror::Error)]
#[error("install {}", path.display())]
pub struct InstallError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// The program that runs, by its name if it still has one: only then can it be linked to.
pub(crate) fn own_binary() -> PathBuf {
    let named = std::env::current_exe().ok().filter(|path| path.exists());
    named.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Puts `binary` into `dir` under the plugin's name: root's, mode 0755, never suid (CVE-2024-33522).
/// A hard link when that is what `binary` is already and the file system allows it, else a copy. What
/// is there and the same is left alone.
///
/// # Errors
/// [`InstallError`].
pub fn plugin(binary: &Path, dir: &Path) -> Result<(), InstallError> {
    let path = dir.join(PLUGIN);
    let install = || {
        if is_same(binary, &path)? {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        in_place(&path, |draft| {
            if !is_fit(&fs::metadata(binary)?) || fs::hard_link(binary, draft).is_err() {
                let mut from = File::open(binary)?;
                let mut to = new_file(draft, 0o755)?;
                io::copy(&mut from, &mut to)?;
                to.sync_all()?;
            }
            Ok(())
        })
    };
    install().map_err(|cause| InstallError { path: path.clone(), cause })
}

/// Puts the plugin `loopback` into `dir` unless there is one: older runtimes fail without, and a
/// node's own is as good.
///
/// # Errors
/// [`InstallError`].
pub fn loopback(dir: &Path) -> Result<(), InstallError> {
    let path = dir.join(LOOPBACK);
    match symlink(PLUGIN, &path) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            Err(InstallError { path, cause })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the plugin `loopback` if it is Seaway's.
///
/// # Errors
/// [`InstallError`].
pub fn remove_loopback(dir: &Path) -> Result<(), InstallError> {
    let path = dir.join(LOOPBACK);
    match fs::read_link(&path) {
        Ok(target) if target == Path::new(PLUGIN) => remove(&path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Writes the network configuration into `dir`, mode 0600.
///
/// # Errors
/// [`InstallError`].
pub fn conflist(paths: &Paths, dir: &Path) -> Result<(), InstallError> {
    let path = dir.join(CONFLIST);
    let list =
        Conflist { name: NETWORK.to_owned(), plugin: PLUGIN.to_owned(), paths: paths.clone() };
    let text = list.to_json();
    let install = || {
        if fs::read(&path).is_ok_and(|there| there == text.as_bytes())
            && fs::metadata(&path)?.permissions().mode() & 0o7777 == 0o600
        {
            return Ok(());
        }
        fs::create_dir_all(dir)?;
        write(&path, 0o600, text.as_bytes())
    };
    install().map_err(|cause| InstallError { path: path.clone(), cause })?;
    remove(&dir.join(FORMER_CONFLIST))
}

/// Removes the network configuration, also that of agents before, from `dir`.
///
/// # Errors
/// [`InstallError`].
pub fn remove_conflist(dir: &Path) -> Result<(), InstallError> {
    [CONFLIST, FORMER_CONFLIST].iter().try_for_each(|name| remove(&dir.join(name)))
}

/// The configuration in `dir` that runtimes take, if it is another's: they take the first by name. Nothing
/// when the directory can't be read.
pub(crate) fn preferred(dir: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let is_conf = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending))
    };
    paths.filter(is_conf).min().filter(|first| *first < dir.join(CONFLIST))
}

/// What to say of [`preferred`].
pub(crate) fn preferred_to_ours(dir: &Path) -> Option<String> {
    preferred(dir).map(|first| {
        format!(
            "the container runtime takes {} before {CONFLIST}: new pods get the network that is described there",
            first.display()
        )
    })
}

/// Removes a file; it may be gone already.
///
/// # Errors
/// The file system's, with the path.
pub fn remove(path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(InstallError { path: path.to_owned(), cause })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts a file with this text and mode at `path`; whoever reads it finds the old one or the new one.
///
/// # Errors
/// The file system's.
pub(crate) fn write(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    in_place(path, |draft| {
        let mut file = new_file(draft, mode)?;
        file.write_all(text)?;
        file.sync_all()
    })
}

/// Has `write` make a file beside `path` and renames it to `path`.
fn in_place(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A leading dot: runtimes read every *.conflist of the directory.
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write(&draft).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// Owner and mode a plugin's binary must have.
fn is_fit(found: &fs::Metadata) -> bool {
    found.mode() & 0o7777 == 0o755 && (found.uid(), found.gid()) == (0, 0)
}

fn is_same(binary: &Path, there: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(there) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    let ours = fs::metadata(binary)?;
    if !found.is_file() || found.mode() & 0o7777 != 0o755 || found.len() != ours.len() {
        return Ok(false);
    }
    if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) {
        return Ok(true);
    }
    let (mut a, mut b) = (File::open(binary)?, File::open(there)?);
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let length = a.read(&mut left)?;
        b.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_plugin_is_never_suid_and_replaced_only_when_it_differs() {
        let scratch = Scratch::new();
        let (binary, dir) = (scratch.path().join("seaway"), scratch.path().join("bin"));
        fs::write(&binary, "one").unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o4777)).unwrap();
        plugin(&binary, &dir).unwrap();
        let path = dir.join(PLUGIN);
        assert_eq!((mode(&path), fs::read_to_string(&path).unwrap()), (0o755, "one".to_owned()));
        let inode = fs::metadata(&path).unwrap().ino();
        plugin(&binary, &dir).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        fs::write(&binary, "two").unwrap();
        plugin(&binary, &dir).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "no draft stays behind");
    }

    #[test]
    fn a_loopback_plugin_is_put_where_there_is_none_and_only_ours_is_removed() {
        let scratch = Scratch::new();
        let path = scratch.path().join(LOOPBACK);
        for _ in 0..2 {
            loopback(scratch.path()).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(PLUGIN));
        }
        remove_loopback(scratch.path()).unwrap();
        fs::write(&path, "another's").unwrap();
        loopback(scratch.path()).unwrap();
        remove_loopback(scratch.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
    }

    #[test]
    fn the_configuration_is_for_root_alone_and_appears_whole() {
        let scratch = Scratch::new();
        let dir = scratch.path().join("net.d");
        let paths = Paths::default();
        conflist(&paths, &dir).unwrap();
        let path = dir.join(CONFLIST);
        assert_eq!(mode(&path), 0o600);
        fs::write(dir.join(FORMER_CONFLIST), "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        conflist(&paths, &dir).unwrap();
        assert_eq!((mode(&path), fs::read_dir(&dir).unwrap().count()), (0o600, 1));
        fs::write(dir.join(FORMER_CONFLIST), "{}").unwrap();
        for _ in 0..2 {
            remove_conflist(&dir).unwrap();
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_configuration_that_runtimes_take_before_ours_is_named() {
        let scratch = Scratch::new();
        assert_eq!(preferred(&scratch.path().join("none")), None);
        for later in ["05-seaway.conflist", "10-flannel.conflist", "10-calico.conflist", "net.json"]
        {
            fs::write(scratch.path().join(later), "{}").unwrap();
        }
        for no_configuration in [".05-seaway.conflist.7", "00-README", "00-old.conflist.bak"] {
            fs::write(scratch.path().join(no_configuration), "{}").unwrap();
        }
        assert_eq!(preferred_to_ours(scratch.path()), None);
        for first in ["05-cilium.conflist", "00-multus.conf"] {
            fs::write(scratch.path().join(first), "{}").unwrap();
            assert_eq!(preferred(scratch.path()), Some(scratch.path().join(first)));
        }
        assert!(
            preferred_to_ours(scratch.path()).unwrap().contains("00-multus.conf before 05-seaway")
        );
    }
}
