//! One layer of an image, laid over a directory: what it has is made there, what it says is gone is
//! removed. Nothing outside of the directory is ever touched, whatever paths and links say.
//!
//! Source: OCI image specification, "Image Layer Filesystem Changeset" (whiteouts, opaque whiteouts);
//! containerd `archive.Apply` (links on the way count inside of the root).

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, mkfifoat, symlinkat, unlinkat};
use tar::{Entry, EntryType};

/// A file whose name starts so says that another one is gone.
const GONE: &str = ".wh.";
/// This one says that everything below is gone that earlier layers had.
const ALL_GONE: &str = ".wh..wh..opq";

/// A directory of a layer's files, by their numbers: the images that share the layer share these. Nobody
/// writes to a file once it is laid, so further names of it will do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pool<'a> {
    /// It is empty, and gets them.
    New(&'a Path),
    /// It has them.
    Known(&'a Path),
}

/// Lays the tar archive that `reader` gives over the directory `root`, which is on the file system of `pool`;
/// how many bytes of files that were.
///
/// # Errors
/// The first entry that can't be made, with its path; the directory is half of both then.
pub(super) fn apply(reader: impl Read, root: &Path, pool: Pool<'_>) -> io::Result<u64> {
    let root = File::open(root)?;
    let mut layer = Layer { root, made: HashSet::new(), bytes: 0, pool, files: 0 };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        layer.lay(&mut entry, &path).map_err(|error| {
            io::Error::new(error.kind(), format!("unpack {}: {error}", path.display()))
        })?;
    }
    Ok(layer.bytes)
}

struct Layer<'a> {
    root: File,
    /// What this layer has made: what it says is gone is what others had.
    made: HashSet<PathBuf>,
    bytes: u64,
    pool: Pool<'a>,
    /// Regular files so far.
    files: u64,
}

impl Layer<'_> {
    fn lay(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        let path = inside(path)?;
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            // The root itself, or a name that is no text.
            return if path.as_os_str().is_empty() {
                Ok(())
            } else {
                Err(odd("its name is no text"))
            };
        };
        let above = path.parent().unwrap_or(Path::new("")).to_owned();
        let folder = self.folder(&above)?;
        if name == ALL_GONE {
            return self.remove_all(&folder, &above);
        }
        if let Some(gone) = name.strip_prefix(GONE) {
            if gone.is_empty() || gone == "." || gone == ".." || gone.contains('/') {
                return Err(odd("it names nothing that could be gone"));
            }
            return if self.made.contains(&above.join(gone)) {
                Ok(())
            } else {
                remove(&folder, gone)
            };
        }
        self.make(entry, &folder, &name)?;
        self.made.insert(path);
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate may come to know more kinds")]
    fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        folder: &OwnedFd,
        name: &str,
    ) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
        match kind {
            EntryType::Directory => match mkdirat(folder, name, mode) {
                Err(Errno::EEXIST) if is_dir(folder, name) => {}
                Err(Errno::EEXIST) => {
                    remove(folder, name)?;
                    mkdirat(folder, name, mode)?;
                }
                made => made?,
            },
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                remove(folder, name)?;
                self.files += 1;
                let number = self.files.to_string();
                if let Pool::Known(pool) = self.pool
                    && linkat(AT_FDCWD, &pool.join(number), folder, name, AtFlags::empty()).is_ok()
                {
                    self.bytes += entry.size();
                    return Ok(());
                }
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW;
                let file = openat(folder, name, flags | OFlag::O_CLOEXEC, mode)?;
                self.bytes += io::copy(entry, &mut File::from(file))?;
            }
            EntryType::Symlink => {
                let target = entry.link_name()?.ok_or_else(|| odd("the link leads nowhere"))?;
                remove(folder, name)?;
                symlinkat(target.as_ref(), folder, name)?;
            }
            EntryType::Link => {
                let target = entry.link_name()?.ok_or_else(|| odd("the link leads nowhere"))?;
                let target = inside(&target)?;
                let from = self.folder(target.parent().unwrap_or(Path::new("")))?;
                let old = target.file_name().ok_or_else(|| odd("the link leads nowhere"))?;
                remove(folder, name)?;
                linkat(&from, old, folder, name, AtFlags::empty())?;
                // Owner and mode are those of the file it is another name of.
                return Ok(());
            }
            EntryType::Fifo => {
                remove(folder, name)?;
                mkfifoat(folder, name, mode)?;
            }
            // Devices would be this machine's, and nothing limits who uses them in a lab.
            _ => return Ok(()),
        }
        let number = |wide: u64| u32::try_from(wide).map_err(|_| odd("its owner is no user"));
        let user = Uid::from_raw(number(entry.header().uid()?)?);
        let group = Gid::from_raw(number(entry.header().gid()?)?);
        fchownat(folder, name, Some(user), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind != EntryType::Symlink {
            // After the owner, whose change takes set-user-ID away.
            fchmodat(folder, name, mode, FchmodatFlags::FollowSymlink)?;
        }
        if let (Pool::New(pool), true) = (self.pool, kind.is_file()) {
            let number = self.files.to_string();
            linkat(folder, name, AT_FDCWD, &pool.join(number), AtFlags::empty())?;
        }
        Ok(())
    }

    /// The directory at `path`, which is made if it is missing. Links on the way count, inside.
    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        match open_dir(&self.root, path) {
            Err(Errno::ENOENT) => {}
            found => return Ok(found?),
        }
        let mut so_far = PathBuf::new();
        let mut folder = open_dir(&self.root, &so_far)?;
        for part in path.components() {
            so_far.push(part);
            folder = match open_dir(&self.root, &so_far) {
                Err(Errno::ENOENT) => {
                    let mode = Mode::from_bits_truncate(0o755);
                    mkdirat(&folder, part.as_os_str(), mode)?;
                    open_dir(&self.root, &so_far)?
                }
                found => found?,
            };
        }
        Ok(folder)
    }

    /// Removes what earlier layers had in `folder`, which is at `path`.
    fn remove_all(&self, folder: &OwnedFd, path: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(by_descriptor(folder))? {
            let name = entry?.file_name();
            if !self.made.contains(&path.join(&name)) {
                remove(folder, &name.to_string_lossy())?;
            }
        }
        Ok(())
    }
}

/// `path` as one below the root: without `.`, and never with `..`.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(odd("the path leads out of the image"));
            }
        }
    }
    Ok(inside)
}

fn open_dir(root: impl AsFd, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    openat2(root, path, OpenHow::new().flags(flags).resolve(resolve))
}

fn is_dir(folder: &OwnedFd, name: &str) -> bool {
    let found = std::fs::symlink_metadata(by_descriptor(folder).join(name));
    found.is_ok_and(|found| found.is_dir())
}

/// Removes what is called `name` in `folder`, with all that is below; nothing is fine, too.
fn remove(folder: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        // The standard library follows no link on its way down.
        Err(Errno::EISDIR) => std::fs::remove_dir_all(by_descriptor(folder).join(name)),
        Err(error) => Err(error.into()),
    }
}

fn by_descriptor(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

/// Writes what it reads to nowhere: for whoever needs all of a stream to have been read.
pub(super) fn drain(reader: &mut impl Read) -> io::Result<()> {
    let mut nowhere = io::sink();
    io::copy(reader, &mut nowhere)?;
    nowhere.flush()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A layer of entries `path`, `path -> target`, `path => hard link`, `path/` or `path = text`.
    fn layer(entries: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
            header.set_uid(uid.into());
            header.set_gid(gid.into());
            header.set_mode(0o755);
            let set = |header: &mut tar::Header, path: &str| {
                // As an attacker would: `set_path` refuses what leads out.
                header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            };
            let mut text = "";
            if let Some((path, target)) = entry.split_once(" -> ") {
                header.set_entry_type(EntryType::Symlink);
                set(&mut header, path);
                header.set_link_name(target).unwrap();
            } else if let Some((path, target)) = entry.split_once(" => ") {
                header.set_entry_type(EntryType::Link);
                set(&mut header, path);
                header.set_link_name(target).unwrap();
            } else if let Some((path, more)) = entry.split_once(" = ") {
                text = more;
                set(&mut header, path);
            } else {
                let kind =
                    if entry.ends_with('/') { EntryType::Directory } else { EntryType::Regular };
                header.set_entry_type(kind);
                set(&mut header, entry);
            }
            header.set_size(text.len() as u64);
            header.set_cksum();
            archive.append(&header, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap()
    }

    fn list(root: &Path) -> String {
        let mut found = Vec::new();
        let mut todo = vec![root.to_owned()];
        while let Some(folder) = todo.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let shown = path.strip_prefix(root).unwrap().display().to_string();
                let kind = fs::symlink_metadata(&path).unwrap();
                if kind.is_dir() {
                    todo.push(path);
                } else if kind.is_symlink() {
                    found.push(format!("{shown}@"));
                } else {
                    found.push(format!("{shown}={}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        found.sort();
        found.join(" ")
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("seaway-layer-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// The pool of a layer that no other image has.
    fn alone() -> Pool<'static> {
        Pool::Known(Path::new("/nowhere"))
    }

    #[test]
    fn layers_add_replace_and_remove() {
        let cases: [(&str, &[&[&str]], &str); 8] = [
            ("a layer adds", &[&["a = 1", "d/b = 2"], &["d/c = 3"]], "a=1 d/b=2 d/c=3"),
            ("a layer replaces", &[&["a = 1"], &["a = 2"]], "a=2"),
            ("a file replaces a directory", &[&["d/b = 2"], &["d = x"]], "d=x"),
            ("a directory replaces a file", &[&["d = x"], &["d/", "d/b = 2"]], "d/b=2"),
            ("a whiteout removes", &[&["a = 1", "d/b = 2"], &["d/.wh.b", ".wh.a"]], ""),
            (
                "an opaque directory hides what was there, wherever the mark stands",
                &[&["d/b = 2", "d/e/f = 3"], &["d/c = 4", "d/.wh..wh..opq"]],
                "d/c=4",
            ),
            ("a whiteout is about earlier layers", &[&["a = 1"], &["a = 2", ".wh.a"]], "a=2"),
            ("a hard link is the same file", &[&["a = 1", "b => a"]], "a=1 b=1"),
        ];
        for (claim, layers, expected) in cases {
            let root = folder("story");
            for entries in layers {
                apply(layer(entries).as_slice(), &root, alone()).unwrap();
            }
            assert_eq!(list(&root), expected, "{claim}");
            fs::remove_dir_all(&root).unwrap();
        }
    }

    #[test]
    fn nothing_leads_out_of_the_image() {
        let outside = folder("outside");
        fs::write(outside.join("kept"), "mine").unwrap();
        let out = outside.display().to_string();
        let through = format!("door -> {out}");
        let up = "up -> ../../../../../../..";
        let attacks: [Vec<String>; 6] = [
            vec!["../evil = x".to_owned()],
            vec!["a/../../evil = x".to_owned()],
            vec![through.clone(), "door/evil = x".to_owned()],
            vec![through.clone(), "door/.wh.kept".to_owned()],
            vec![through.clone(), "door/.wh..wh..opq".to_owned()],
            vec![up.to_owned(), format!("up{out}/evil = x")],
        ];
        for entries in attacks {
            let root = folder("attack");
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            // Some are refused, others stay inside: what counts is what is outside.
            drop(apply(layer(&entries).as_slice(), &root, alone()));
            assert_eq!(list(&outside), "kept=mine", "{entries:?}");
            fs::remove_dir_all(&root).unwrap();
        }
        let root = folder("attack");
        symlink(outside.join("kept"), root.join("file")).unwrap();
        apply(layer(&["file = new"]).as_slice(), &root, alone()).unwrap();
        assert_eq!(list(&outside), "kept=mine", "a link in the place of a file is replaced");
        let hard = format!("hard => {out}/kept");
        assert!(apply(layer(&[&hard]).as_slice(), &root, alone()).is_err());
        fs::remove_dir_all(&root).unwrap();
        fs::remove_dir_all(&outside).unwrap();
    }

    #[test]
    fn permissions_are_those_of_the_archive() {
        let root = folder("mode");
        apply(layer(&["a = 1"]).as_slice(), &root, alone()).unwrap();
        assert_eq!(root.join("a").metadata().unwrap().permissions().mode() & 0o777, 0o755);
        fs::remove_dir_all(&root).unwrap();
    }
}
