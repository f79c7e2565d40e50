//! A container's view of the file system: its base under memory of its own, so that it can write
//! everywhere and nobody else sees it; private `/proc`, `/sys` and `/dev`; and what is bound.
//!
//! All mounts are made after the root has changed, so that a symbolic link of the base can't lead
//! out of it; the old root stays reachable as the working directory until the end. What is shown is
//! opened the other way round: links of the node count as the node sees them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, mkdirat};
use nix::unistd::{chdir, fchdir, pivot_root};

use super::launch::{Base, Bind, ReadOnly, Root};

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

/// Mounts of the machine that a container doesn't see: it gets its own, or none.
const HIDDEN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];

/// Gives the calling process a mount namespace with `root` as its root, and enters that.
///
/// # Errors
/// The attempt that failed and why, in one line.
pub(crate) fn build(root: &Root) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(at("/", "unshare the mounts of"))?;
    // What the node mounts is seen here, and nothing that is mounted here is seen there.
    remount("/", MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    let old = fs::File::open("/").map_err(at("/", "open"))?;
    let is_machine = root.base == Base::Machine;
    let submounts = if is_machine { submounts()? } else { Vec::new() };
    let new = overlay(root)?;
    chdir(&new).map_err(at(&new, "enter"))?;
    pivot_root(".", ".").map_err(at(&new, "change the root to"))?;
    // From here on `/x` is the container's and `x` is the node's.
    fchdir(&old).map_err(at("/", "enter"))?;
    for path in &submounts {
        show_submount(path);
    }
    kernel_views(root.privileged, root.unmasked)?;
    devices()?;
    if is_machine {
        let scratch = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        for (folder, mode) in
            [("/run", "mode=755"), ("/tmp", "mode=1777"), ("/var/tmp", "mode=1777")]
        {
            if Path::new(folder).is_dir() {
                mount_new("tmpfs", folder, scratch, mode)?;
            }
        }
    }
    for wanted in &root.binds {
        show(wanted, &old).map_err(|why| format!("mount {}: {why}", wanted.target.display()))?;
    }
    if root.read_only {
        remount("/", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
    }
    umount2(".", MntFlags::MNT_DETACH).map_err(at("/", "leave"))?;
    chdir("/").map_err(at("/", "enter"))
}

/// Mounts the base with room above it, in memory that only this mount holds; says where.
fn overlay(root: &Root) -> Result<PathBuf, String> {
    mount_new("tmpfs", &root.at, MsFlags::empty(), "mode=755")?;
    let [upper, work, new] = ["upper", "work", "root"].map(|name| root.at.join(name));
    for folder in [&upper, &work, &new] {
        fs::create_dir(folder).map_err(at(folder, "create"))?;
    }
    let machine = [PathBuf::from("/")];
    let layers = match &root.base {
        Base::Machine => &machine[..],
        Base::Layers(layers) => layers,
    };
    // By descriptor, because a path may have characters that mean something among mount options.
    let mut held = Vec::new();
    let mut lower = Vec::new();
    for layer in layers {
        let folder = fs::File::open(layer).map_err(at(layer, "open"))?;
        lower.push(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        held.push(folder);
    }
    let (lower, upper, work) = (lower.join(":"), upper.display(), work.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount_new("overlay", &new, MsFlags::empty(), &options)?;
    Ok(new)
}

/// The mounts below the machine's root that are part of what a container sees of it, in order.
fn submounts() -> Result<Vec<PathBuf>, String> {
    let path = "/proc/self/mountinfo";
    let text = fs::read_to_string(path).map_err(at(path, "read"))?;
    // Source: proc_pid_mountinfo(5): the fifth field; blanks and backslashes are in octal.
    let points = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| point.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"));
    let is_seen = |point: &PathBuf| {
        point != Path::new("/") && !HIDDEN.iter().any(|hidden| point.starts_with(hidden))
    };
    Ok(points.map(PathBuf::from).filter(is_seen).collect())
}

/// A mount that can't be shown, such as somebody's FUSE, is an empty directory inside.
fn show_submount(path: &Path) {
    let source = path.strip_prefix("/").unwrap_or(path);
    if bind(source, path, MsFlags::empty()).is_ok() {
        drop(kernel::confine::make_read_only(path));
    }
}

fn kernel_views(privileged: bool, unmasked: bool) -> Result<(), String> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    for folder in ["/proc", "/sys", "/dev"] {
        fs::create_dir_all(folder).map_err(at(folder, "create"))?;
    }
    mount_new("proc", "/proc", safe, "")?;
    mount_sysfs(if privileged { safe } else { safe | MsFlags::MS_RDONLY })?;
    if unmasked {
        return Ok(());
    }
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

/// Shows a file or directory of the node inside; a place to mount on is made if it is missing.
fn show(wanted: &Bind, node: &fs::File) -> Result<(), String> {
    let mut source = open_from(node, &wanted.source, ResolveFlag::RESOLVE_IN_ROOT)
        .map_err(at(&wanted.source, "open"))?;
    if let Some(within) = &wanted.within {
        source = open_within(source, within)
            .map_err(at(within, "open the subpath, which must stay inside the volume,"))?;
    }
    let target = final_target(&wanted.target);
    if !target.exists() {
        let is_dir = fstat(&source).is_ok_and(|it| it.st_mode & libc::S_IFMT == libc::S_IFDIR);
        make_place(is_dir, &target).map_err(at(&target, "make a place to mount at"))?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    bind(&source, &target, MsFlags::MS_REC)?;
    if !wanted.follows {
        remount(&target, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    }
    match wanted.read_only {
        ReadOnly::No => Ok(()),
        ReadOnly::Top => {
            remount(&target, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)
        }
        ReadOnly::All => {
            kernel::confine::make_read_only(&target).map_err(at(&target, "make read-only"))
        }
    }
}

/// Opens `path` as a place, below `from` whatever links say.
fn open_from(from: impl AsFd, path: &Path, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC);
    openat2(from, path, how.resolve(resolve | ResolveFlag::RESOLVE_NO_MAGICLINKS))
}

/// Opens `path` inside a volume, without ever leaving it; directories that are missing are made,
/// with the volume's own mode.
///
/// Source: kubelet `subpath.SafeMakeDir`, `doSafeOpen`; RESOLVE_BENEATH in openat2(2).
fn open_within(volume: OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let beneath = ResolveFlag::RESOLVE_BENEATH;
    match open_from(&volume, path, beneath) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let mode = Mode::from_bits_truncate(fstat(&volume)?.st_mode & 0o7777);
    let mut place = open_from(&volume, Path::new(""), beneath)?;
    let mut so_far = PathBuf::new();
    for part in path.components() {
        let Component::Normal(name) = part else { return Err(Errno::EXDEV) };
        so_far.push(name);
        place = match open_from(&volume, &so_far, beneath) {
            Err(Errno::ENOENT) => {
                mkdirat(&place, name, mode)?;
                // What the mask of this process took away belongs to the mode, too.
                fchmodat(&place, name, mode, FchmodatFlags::FollowSymlink)?;
                open_from(&volume, &so_far, beneath)?
            }
            found => found?,
        };
    }
    Ok(place)
}

/// Where `path` leads when its last part is a symbolic link, even to nothing.
fn final_target(path: &Path) -> PathBuf {
    match fs::read_link(path) {
        Ok(link) => path.parent().unwrap_or(Path::new("/")).join(link),
        Err(_) => path.to_owned(),
    }
}

fn make_place(is_dir: bool, target: &Path) -> io::Result<()> {
    if is_dir {
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
