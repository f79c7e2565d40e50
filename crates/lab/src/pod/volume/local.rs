//! Volumes that are directories of the node: empty ones, and those of its own.
//!
//! Source: kubelet `volume/emptydir`, `volume/hostpath`; `SetVolumeOwnership`.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::pod::fields::thousandths;

/// Makes the directory `path` with `mode`, for `group` if there is one.
///
/// # Errors
/// The file system's.
pub(super) fn make_dir(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    own(path, mode, group)
}

fn own(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    chown(path, None, group)?;
    let more = if group.is_some() { 0o2770 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(mode | more))
}

/// Makes an empty directory; in memory and with a limit if the manifest says so. Whether it is a
/// mount, to be ended by [`unmount`].
///
/// # Errors
/// What stands in the way, or a medium that the lab does not have.
pub(super) fn make_empty(
    path: &Path,
    wanted: &EmptyDirVolumeSource,
    group: Option<u32>,
) -> Result<bool, String> {
    let failed = |error: io::Error| format!("make {}: {error}", path.display());
    fs::create_dir_all(path).map_err(failed)?;
    let limit = wanted.size_limit.as_ref().and_then(|Quantity(text)| thousandths(text));
    let limit = limit.map(|thousandths| thousandths.div_ceil(1000)).filter(|bytes| *bytes > 0);
    let is_mount = match wanted.medium.as_deref().unwrap_or_default() {
        "" if limit.is_none() => false,
        "" | "Memory" => {
            let options = limit.map(|bytes| format!("size={bytes}")).unwrap_or_default();
            let kind = Some("tmpfs");
            mount(kind, path, kind, MsFlags::empty(), Some(options.as_str()))
                .map_err(|error| format!("mount tmpfs at {}: {error}", path.display()))?;
            true
        }
        other => return Err(format!("storage medium {other:?} is not there in a lab")),
    };
    own(path, 0o777, group).map_err(failed)?;
    Ok(is_mount)
}

/// Ends a mount of [`make_empty`].
pub(super) fn unmount(path: &Path) {
    // Fails only if it is unmounted already.
    umount2(path, MntFlags::MNT_DETACH).ok();
}

/// Checks that a path of the node is of the type that the manifest says, or makes it that.
///
/// # Errors
/// What it is not.
pub(super) fn check_host_path(wanted: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&wanted.path);
    let found = fs::metadata(path).map(|found| found.file_type());
    let is_missing = found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(test);
    let failed = |error: io::Error| format!("make {}: {error}", path.display());
    let (is_right, name) = match wanted.type_.as_deref().unwrap_or_default() {
        "" if is_missing => return fs::create_dir_all(path).map_err(failed),
        "" => return Ok(()),
        "DirectoryOrCreate" if is_missing => return fs::create_dir_all(path).map_err(failed),
        "FileOrCreate" if is_missing => {
            return fs::File::create_new(path).map(drop).map_err(failed);
        }
        "DirectoryOrCreate" | "Directory" => (is(fs::FileType::is_dir), "a directory"),
        "FileOrCreate" | "File" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if is_right {
        return Ok(());
    }
    Err(format!("hostPath type check failed: {} is not {name}", path.display()))
}

/// Why a volume that is none of the above can't be made.
pub(super) fn unsupported(volume: &Volume) -> String {
    if let Some(claim) = &volume.persistent_volume_claim {
        return format!(
            "a lab has no persistent storage: claim {:?} is never bound; use emptyDir or hostPath",
            claim.claim_name
        );
    }
    "a lab has no such storage; use emptyDir, hostPath, configMap, secret, downwardAPI or projected"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_node_is_of_the_type_the_manifest_says() {
        let folder = std::env::temp_dir().join(format!("seaway-host-path-{}", std::process::id()));
        fs::create_dir_all(folder.join("dir")).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let check = |name: &str, kind: &str| {
            let path = folder.join(name).display().to_string();
            let wanted = HostPathVolumeSource { path, type_: Some(kind.to_owned()) };
            check_host_path(&wanted).map_err(|why| why.rsplit('/').next().unwrap().to_owned())
        };
        let cases = [
            ("dir", "", Ok(())),
            ("dir", "Directory", Ok(())),
            ("dir", "File", Err("dir is not a file")),
            ("file", "File", Ok(())),
            ("file", "Directory", Err("file is not a directory")),
            ("file", "DirectoryOrCreate", Err("file is not a directory")),
            ("file", "Socket", Err("file is not a socket file")),
            ("none", "File", Err("none is not a file")),
            ("none", "CharDevice", Err("none is not a character device")),
            ("made", "DirectoryOrCreate", Ok(())),
            ("made", "Directory", Ok(())),
            ("fresh", "FileOrCreate", Ok(())),
            ("fresh", "File", Ok(())),
            ("deep/er", "", Ok(())),
            ("file", "Nonsense", Err("Nonsense is an invalid volume type")),
        ];
        for (name, kind, expected) in cases {
            assert_eq!(check(name, kind), expected.map_err(str::to_owned), "{name} {kind}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
