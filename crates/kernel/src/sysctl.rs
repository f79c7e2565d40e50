//! Kernel settings under /proc/sys, in the calling thread's network namespace.
//!
//! In a container that is not privileged /proc/sys can't be written, and no runtime mounts anything in its
//! place. The node's own may be shown elsewhere instead: which namespace's settings are met there follows from
//! who looks, and not from whose it is.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};

/// Where a container is shown the node's, as a volume.
const SHOWN: &str = "/host/proc/sys";

/// Where settings are.
static ROOT: LazyLock<&'static Path> = LazyLock::new(|| {
    let shown = Path::new(SHOWN);
    let found = statfs(&shown.join("net"));
    let is_proc = found.is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC);
    if is_proc { shown } else { Path::new("/proc/sys") }
});

/// A setting could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct SysctlError {
    attempt: String,
    #[source]
    cause: io::Error,
}

impl SysctlError {
    /// Whether there is no such setting: its link or its module is not there.
    pub fn is_gone(&self) -> bool {
        self.cause.kind() == io::ErrorKind::NotFound
    }
}

/// Reads setting `key`, a path below /proc/sys like `net/ipv4/ip_forward`. Several values are
/// separated by single spaces.
///
/// # Errors
/// When there is no such setting.
pub fn read(key: &str) -> Result<String, SysctlError> {
    let failed = |cause| SysctlError { attempt: format!("read sysctl {key}"), cause };
    let text = fs::read_to_string(path(key).map_err(failed)?).map_err(failed)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Writes setting `key`.
///
/// # Errors
/// When there is no such setting, or the kernel refuses the value.
pub fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    let failed = |cause| SysctlError { attempt: format!("write {value:?} to sysctl {key}"), cause };
    fs::write(path(key).map_err(failed)?, value).map_err(failed)
}

/// Whether there is a setting `key`.
pub fn exists(key: &str) -> bool {
    path(key).and_then(fs::exists).unwrap_or(false)
}

/// Whether setting `key` may be written in this network namespace, whoever asks.
pub fn is_writable(key: &str) -> bool {
    let mode = |path: PathBuf| fs::metadata(path).map(|file| file.permissions().mode());
    path(key).and_then(mode).is_ok_and(|mode| mode & 0o222 != 0)
}

/// Whether the kernel has IPv6, in any namespace.
pub fn has_ipv6() -> bool {
    fs::exists(ROOT.join("net/ipv6/conf")).unwrap_or(false)
}

/// Where a setting is. Nothing outside the settings of the network is ever touched.
fn path(key: &str) -> io::Result<PathBuf> {
    let is_part =
        |part: &str| !part.is_empty() && part != ".." && !part.contains(char::is_whitespace);
    if key.starts_with("net/") && key.split('/').all(is_part) {
        Ok(ROOT.join(key))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a setting below net/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_the_network_are_reachable() {
        for bad in [
            "kernel/hostname",
            "net/../kernel/hostname",
            "/net/ipv4/ip_forward",
            "net//x",
            "net/a b",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("net/ipv4/no_such_setting").unwrap_err().is_gone());
        assert!(read("net/ipv4/tcp_rmem").unwrap().split(' ').count() == 3);
    }
}
