//! A container's view of the file system: the machine's root, read-only, under private `/proc`,
//! `/sys`, `/dev`, `/run` and `/tmp`.
//!
//! All mounts are made after the root has changed, so that a symbolic link of the machine's root
//! can't lead out of it; the old root stays reachable as the working directory until the end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, fchdir, pivot_root};

use super::launch::{Bind, Launch};

/// Files of `/proc` that a container may read and not write.
///
/// Source: containerd `oci.defaultReadonlyPaths`.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files of `/proc` and `/sys` that a container doesn't see.
///
/// Source: containerd `oci.defaultMaskedPaths`.
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
];

const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Gives the calling process the mount namespace `launch` describes, with its root mounted on the
/// directory `root` of the node, and enters its working directory.
///
/// # Errors
/// The attempt that failed and why, in one line.
pub(crate) fn build(launch: &Launch, root: &Path) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(at("/", "unshare the mounts of"))?;
    remount("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    bind(Path::new("/"), root, MsFlags::MS_REC)?;
    kernel::confine::make_read_only(root).map_err(at(root, "make read-only"))?;
    let old = fs::File::open("/").map_err(at("/", "open"))?;
    chdir(root).map_err(at(root, "enter"))?;
    pivot_root(".", ".").map_err(at(root, "change the root to"))?;
    // From here on `/x` is the container's and `x` is the node's.
    fchdir(&old).map_err(at("/", "enter"))?;
    kernel_views(launch.privileged)?;
    devices()?;
    let scratch = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    for (folder, mode) in [("/run", "mode=755"), ("/tmp", "mode=1777"), ("/var/tmp", "mode=1777")] {
        if Path::new(folder).is_dir() {
            mount_new("tmpfs", folder, scratch, mode)?;
        }
    }
    for wanted in &launch.binds {
        show(wanted)?;
    }
    umount2(".", MntFlags::MNT_DETACH).map_err(at("/", "leave"))?;
    let cwd = launch.cwd.as_deref().unwrap_or(Path::new("/"));
    chdir(cwd).map_err(at(cwd, "enter the working directory"))
}

fn kernel_views(privileged: bool) -> Result<(), String> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    mount_new("proc", "/proc", safe, "")?;
    if privileged {
        return mount_sysfs(safe);
    }
    mount_sysfs(safe | MsFlags::MS_RDONLY)?;
    for path in READ_ONLY.map(Path::new).into_iter().filter(|path| path.exists()) {
        bind(path, path, MsFlags::MS_REC)?;
        remount(path, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    }
    for path in MASKED.map(Path::new) {
        match path.metadata() {
            Ok(found) if found.is_dir() => mount_new("tmpfs", path, MsFlags::MS_RDONLY, "size=4k")?,
            Ok(_) => bind(Path::new("dev/null"), path, MsFlags::empty())?,
            Err(_) => {}
        }
    }
    Ok(())
}

fn devices() -> Result<(), String> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_new("tmpfs", "/dev", plain, "mode=755,size=64k")?;
    for name in DEVICES {
        let target = Path::new("/dev").join(name);
        fs::File::create(&target).map_err(at(&target, "create"))?;
        bind(&Path::new("dev").join(name), &target, MsFlags::empty())?;
    }
    for (to, link) in LINKS {
        std::os::unix::fs::symlink(to, link).map_err(at(link, "create"))?;
    }
    for folder in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
        fs::create_dir(folder).map_err(at(folder, "create"))?;
    }
    mount_new("devpts", "/dev/pts", plain, "newinstance,ptmxmode=0666,mode=0620")?;
    let safe = plain | MsFlags::MS_NODEV;
    mount_new("tmpfs", "/dev/shm", safe, "mode=1777,size=64m")?;
    mount_new("mqueue", "/dev/mqueue", safe, "")
}

/// Shows a file or directory of the node inside. Where nothing is there to mount on, a place is
/// made if the container's root can be written there; the machine's root can't.
fn show(wanted: &Bind) -> Result<(), String> {
    let target = final_target(&wanted.target);
    let source = wanted.source.strip_prefix("/").unwrap_or(&wanted.source);
    if !target.exists() {
        make_place(source, &target)
            .map_err(at(&target, "the machine's root is read-only; make a place to mount at"))?;
    }
    bind(source, &target, MsFlags::MS_REC)?;
    if !wanted.read_only {
        return Ok(());
    }
    remount(&target, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)
}

/// Where `path` leads when its last part is a symbolic link, even to nothing.
fn final_target(path: &Path) -> PathBuf {
    match fs::read_link(path) {
        Ok(link) => path.parent().unwrap_or(Path::new("/")).join(link),
        Err(_) => path.to_owned(),
    }
}

fn make_place(source: &Path, target: &Path) -> io::Result<()> {
    if source.metadata()?.is_dir() {
        return fs::create_dir_all(target);
    }
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::File::create(target).map(drop)
}

/// The sysfs of our network. A pod on its node's network finds the node's there already, which the
/// kernel refuses to mount over itself (`EBUSY`): then that one gets the flags.
fn mount_sysfs(flags: MsFlags) -> Result<(), String> {
    let path = Path::new("/sys");
    match mount(Some("sysfs"), path, Some("sysfs"), flags, None::<&str>) {
        Err(Errno::EBUSY) => remount(path, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags),
        mounted => mounted.map_err(|error| format!("mount sysfs at /sys: {error}")),
    }
}

fn mount_new(
    kind: &str,
    target: impl AsRef<Path>,
    flags: MsFlags,
    options: &str,
) -> Result<(), String> {
    let target = target.as_ref();
    mount(Some(kind), target, Some(kind), flags, Some(options))
        .map_err(|error| format!("mount {kind} at {}: {error}", target.display()))
}

fn bind(source: &Path, target: &Path, depth: MsFlags) -> Result<(), String> {
    let nothing = None::<&str>;
    mount(Some(source), target, nothing, MsFlags::MS_BIND | depth, nothing)
        .map_err(|error| format!("bind {} at {}: {error}", source.display(), target.display()))
}

fn remount(target: impl AsRef<Path>, flags: MsFlags) -> Result<(), String> {
    let (nothing, target) = (None::<&str>, target.as_ref());
    mount(nothing, target, nothing, flags, nothing)
        .map_err(|error| format!("remount {}: {error}", target.display()))
}

fn at<E: std::fmt::Display>(path: impl AsRef<Path>, attempt: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{attempt} {}: {error}", path.as_ref().display())
}
