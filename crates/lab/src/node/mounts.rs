//! The node's own view of the machine's file system: its own `/run`, `/proc`, `/sys` and names;
//! everything else is the machine's.

use std::io;
use std::path::{Component, Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::settings::Settings;
use crate::directory::NodeDirectory;

/// A mount that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} {path}")]
pub(super) struct MountError {
    attempt: &'static str,
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Gives the calling process, which has a mount namespace of its own, the node's file system.
///
/// # Errors
/// The first mount or file that fails; the process must end then.
pub(super) fn prepare(directory: &NodeDirectory, settings: &Settings) -> Result<(), MountError> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    attach("keep mounts private below", None, Path::new("/"), None, private)?;
    let etc = directory.path().join("etc");
    let names = [
        ("hosts", settings.hosts()),
        ("hostname", settings.name() + "\n"),
        ("resolv.conf", settings.resolv_conf()),
    ];
    write_all(&etc, &names)?;
    for (name, _) in &names {
        cover(&etc.join(name), &Path::new("/etc").join(name), &directory.run())?;
    }
    let images = directory.run().join("images");
    for folder in [&images, &directory.images()] {
        std::fs::create_dir_all(folder).map_err(|cause| MountError {
            attempt: "make",
            path: folder.clone(),
            cause,
        })?;
    }
    attach("bind the lab's images", Some(&directory.images()), &images, None, MsFlags::MS_BIND)?;
    let below = MsFlags::MS_BIND | MsFlags::MS_REC;
    attach("bind the node's", Some(&directory.run()), Path::new("/run"), None, below)?;
    // Debian mounts the machine's /run, where labs are, noexec; plugins run from the node's.
    let programs = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach("allow programs in", None, Path::new("/run"), None, programs)?;
    // As systemd has it: containers may ask to see what is mounted later, as namespaces of pods are.
    let shared = MsFlags::MS_REC | MsFlags::MS_SHARED;
    attach("show containers what is mounted in", None, Path::new("/run"), None, shared)?;
    let sealed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach("mount", Some(Path::new("proc")), Path::new("/proc"), Some("proc"), sealed)?;
    attach("mount", Some(Path::new("sysfs")), Path::new("/sys"), Some("sysfs"), sealed)?;
    // What a kernel may lack, and the agent says so if it needs it.
    for (kind, path) in [("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup")] {
        if let Err(error) =
            attach("mount", Some(Path::new(kind)), Path::new(path), Some(kind), sealed)
        {
            tracing::debug!("{error}: {}", error.cause);
        }
    }
    Ok(())
}

/// Puts `file` in the place of `target`. A target that is a link into `/run`, as systemd-resolved
/// makes it, gets its contents in the node's own `run` instead.
fn cover(file: &Path, target: &Path, run: &Path) -> Result<(), MountError> {
    if let Ok(link) = std::fs::read_link(target) {
        let link = Path::new("/etc").join(link);
        let inside = link.components().fold(PathBuf::from("/"), |mut path, part| {
            if part == Component::ParentDir {
                path.pop();
            } else {
                path.push(part);
            }
            path
        });
        if let Ok(rest) = inside.strip_prefix("/run") {
            let path = run.join(rest);
            let copy = || -> io::Result<()> {
                std::fs::create_dir_all(path.parent().unwrap_or(run))?;
                std::fs::copy(file, &path).map(|_| ())
            };
            return copy().map_err(|cause| MountError {
                attempt: "write",
                path: path.clone(),
                cause,
            });
        }
    }
    if !target.exists() {
        return Ok(());
    }
    attach("bind over", Some(file), target, None, MsFlags::MS_BIND)
}

fn write_all(folder: &Path, files: &[(&str, String)]) -> Result<(), MountError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| MountError { attempt: "write", path, cause }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    files.iter().try_for_each(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(failed(&path))
    })
}

fn attach(
    attempt: &'static str,
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
) -> Result<(), MountError> {
    mount(source, target, kind, flags, None::<&str>).map_err(|cause| MountError {
        attempt,
        path: target.to_owned(),
        cause: cause.into(),
    })
}
