//! Files that change all at once: what a volume of a ConfigMap, Secret or the like consists of.
//!
//! The files are in a folder with a new name for every change; `..data` is a link to it that is
//! renamed into place, and what a container sees are links through `..data`. Whoever reads sees all
//! old or all new files.
//!
//! Source: kubelet `volume/util/atomic_writer.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

const DATA: &str = "..data";
const FRESH: &str = "..data_tmp";

/// Files of a volume by path, relative to it.
pub(crate) type Payload = BTreeMap<String, Entry>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner; root when `None`.
    pub user: Option<u32>,
}

/// Makes the volume at `folder` consist of `payload`, readable for `group` if there is one; whether
/// that took a change.
///
/// # Errors
/// The file system's; a path that leads out of the volume. What was there before is still there.
pub(crate) fn write(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let data = folder.join(DATA);
    let old = fs::read_link(&data).ok();
    if old.as_ref().is_some_and(|old| holds(&folder.join(old), payload)) {
        return Ok(false);
    }
    let now = Timestamp::now();
    let name = format!("{}{:09}", now.strftime("..%Y_%m_%d_%H_%M_%S."), now.subsec_nanosecond());
    let fresh = folder.join(&name);
    let written = fill(&fresh, payload, group).and_then(|()| {
        let link = folder.join(FRESH);
        // Left behind by one that was interrupted.
        drop(fs::remove_file(&link));
        symlink(&name, &link)?;
        fs::rename(&link, &data)
    });
    if let Err(error) = written {
        drop(fs::remove_dir_all(&fresh));
        return Err(error);
    }
    show(folder, payload)?;
    if let Some(old) = old {
        drop(fs::remove_dir_all(folder.join(old)));
    }
    Ok(true)
}

/// Source: kubelet `validatePath`.
fn check(path: &str) -> io::Result<()> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_inside = !path.is_empty() && Path::new(path).components().all(is_plain);
    if is_inside && !path.starts_with("..") {
        return Ok(());
    }
    Err(io::Error::other(format!("invalid path: must be relative and inside the volume: {path:?}")))
}

fn holds(folder: &Path, payload: &Payload) -> bool {
    let mut found = BTreeSet::new();
    list(folder, &mut PathBuf::new(), &mut found);
    let is_same = |(path, entry): (&String, &Entry)| {
        let path = folder.join(path);
        let mode = path.metadata().map(|it| it.permissions().mode() & 0o7777);
        // A group may have been given more, so the mode is at least what was asked for.
        mode.is_ok_and(|mode| mode & entry.mode == entry.mode)
            && fs::read(&path).is_ok_and(|bytes| bytes == entry.bytes)
    };
    found.len() == payload.len() && payload.iter().all(is_same)
}

fn list(folder: &Path, below: &mut PathBuf, found: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder.join(&below)) else { return };
    for entry in entries.flatten() {
        below.push(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(folder, below, found);
        } else {
            found.insert(below.clone());
        }
        below.pop();
    }
}

fn fill(folder: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    make_dir(folder, group)?;
    for (path, entry) in payload {
        let path = folder.join(path);
        let missing: Vec<_> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
        for dir in missing.into_iter().rev() {
            make_dir(dir, group)?;
        }
        fs::write(&path, &entry.bytes)?;
        // Source: kubelet `SetVolumeOwnership`, a read-only volume.
        let more = if group.is_some() { 0o440 } else { 0 };
        chown(&path, entry.user, group)?;
        fs::set_permissions(&path, Permissions::from_mode(entry.mode | more))?;
    }
    Ok(())
}

fn make_dir(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(path)?;
    chown(path, None, group)?;
    let more = if group.is_some() { 0o2550 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(0o755 | more))
}

/// Makes the links that a container sees be those of `payload`.
fn show(folder: &Path, payload: &Payload) -> io::Result<()> {
    let first = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = payload.keys().map(first).collect();
    for name in &wanted {
        let link = folder.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let entry = |text: &str| Entry { bytes: text.as_bytes().to_vec(), mode: 0o640, user: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), entry(text))).collect()
    }

    #[test]
    fn a_change_is_seen_as_a_whole_and_leaves_nothing_of_before() {
        let folder = std::env::temp_dir().join(format!("seaway-atomic-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
        let entries = || fs::read_dir(&folder).unwrap().count();

        let first = payload(&[("a", "1"), ("deep/er/b", "2")]);
        assert!(write(&folder, &first, None).unwrap());
        assert_eq!((read("a"), read("deep/er/b")), ("1".to_owned(), "2".to_owned()));
        assert_eq!(fs::read_link(folder.join("deep")).unwrap(), Path::new("..data/deep"));
        assert_eq!(folder.join("a").metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(!write(&folder, &first, None).unwrap(), "nothing has changed");

        let open = fs::File::open(folder.join("a")).unwrap();
        assert!(write(&folder, &payload(&[("a", "3"), ("c", "4")]), None).unwrap());
        assert_eq!((read("a"), read("c")), ("3".to_owned(), "4".to_owned()));
        assert_eq!(io::read_to_string(open).unwrap(), "1", "who reads the old file has all of it");
        assert!(fs::symlink_metadata(folder.join("deep")).is_err());
        assert_eq!(entries(), 4, "..data, its folder, a and c");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for path in ["../x", "/x", "a/../../x", "", "..x", "a/./b/.."] {
            let refused = write(Path::new("/nonexistent"), &payload(&[(path, "")]), None);
            let why = refused.unwrap_err().to_string();
            assert!(why.starts_with("invalid path"), "{path}: {why}");
        }
    }
}
