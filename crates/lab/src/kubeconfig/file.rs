//! One file, changed whole: nobody sees a part of it, and nobody changes it meanwhile.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{KubeconfigError, failed, text};

/// How long somebody else may take to change the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The file's fields. One that is not there, or is empty, is a kubeconfig without entries.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, KubeconfigError> {
    let unreadable = |why: String| KubeconfigError::Unreadable { path: path.to_owned(), why };
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        other => other.map_err(failed("read", path))?,
    };
    let document = apiserver::yaml::read(&text)
        .map_err(|error| unreadable(format!("line {}: {}", error.line, error.message)))?;
    match document.map(|document| document.root.value()) {
        None | Some(Value::Null) => {
            let empty = json!({ "apiVersion": "v1", "kind": "Config", "preferences": {} });
            Ok(empty.as_object().cloned().unwrap_or_default())
        }
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(unreadable("not a kubeconfig: must be a mapping".to_owned())),
    }
}

/// Changes the file at `path`, which need not exist. A link leads to the file that is changed.
pub(super) fn change(
    path: &Path,
    work: impl FnOnce(&mut Map<String, Value>) -> Result<(), String>,
) -> Result<(), KubeconfigError> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let _lock = Lock::take(&path)?;
    let before = read(&path)?;
    let mut after = before.clone();
    work(&mut after).map_err(|why| KubeconfigError::Unreadable { path: path.clone(), why })?;
    if after == before {
        return Ok(());
    }
    replace(&path, &text::write(&after)).map_err(failed("write", &path))
}

/// Puts `text` in the place of the file, with its owner and mode; a new file is its owner's alone.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let before = fs::metadata(path).ok();
    let next = beside(path, &format!(".seaway-{}", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        if let Some(before) = &before {
            file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
            std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path)
    };
    written().inspect_err(|_| drop(fs::remove_file(&next)))
}

/// kubectl's lock: a file beside the file, that nobody else has made.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self, KubeconfigError> {
        let lock = beside(path, ".lock");
        let start = Instant::now();
        loop {
            match File::create_new(&lock) {
                Ok(_) => return Ok(Lock(lock)),
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(failed("create", &lock)(error));
                }
                Err(_) if start.elapsed() > PATIENCE => return Err(KubeconfigError::Locked(lock)),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(end);
    path.with_file_name(name)
}
