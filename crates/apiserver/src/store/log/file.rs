//! The state directory: locked, its file appended durably and replaced atomically.
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StateError;

/// The directory, the lock on it and the open file.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held for as long as this value lives; also stands in for the file until there is one.
    lock: File,
    file: Option<File>,
    /// Bytes that are known to be durable; the next commit is written here.
    len: u64,
    /// A sync failed: the kernel may have dropped what it held, so the file must be written anew.
    suspect: bool,
}

impl Directory {
    /// Locks the directory, which is made if need be, and opens the file in it if there is one.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<File>), StateError> {
        let fail = |attempt: String| move |cause| StateError::Io { attempt, cause };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(fail(format!("create {}", path.display())))?;
        let lock_path = path.join("lock");
        let lock = private().create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(fail(format!("open {}", lock_path.display())))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StateError::InUse(lock_path.clone()),
            TryLockError::Error(cause) => fail(format!("lock {}", lock_path.display()))(cause),
        })?;
        let directory = Self { path: path.to_owned(), lock, file: None, len: 0, suspect: false };
        match private().open(directory.path()) {
            Ok(file) => Ok((directory, Some(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((directory, None)),
            Err(error) => Err(fail(format!("open {}", directory.path().display()))(error)),
        }
    }

    /// The file.
    pub(super) fn path(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// Where the end of a file goes that was cut off.
    pub(super) fn torn(&self) -> PathBuf {
        self.path.join("objects.torn")
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file must be replaced before anything else is appended.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Goes on after `whole` bytes of the file that was found. The rest is cut off, and kept in a file
    /// of its own for whoever wants to look at it: only its end told it from damage.
    pub(super) fn resume(&mut self, mut file: File, whole: u64) -> io::Result<()> {
        if file.metadata()?.len() > whole {
            let mut rest = Vec::new();
            file.seek(SeekFrom::Start(whole))?;
            file.read_to_end(&mut rest)?;
            let mut torn = private().create(true).truncate(true).open(self.torn())?;
            torn.write_all(&rest)?;
            torn.sync_all()?;
            file.set_len(whole)?;
            file.sync_all()?;
        }
        self.file = Some(file);
        self.len = whole;
        Ok(())
    }

    /// Appends `line` durably.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let file = self.file.as_ref().unwrap_or(&self.lock);
        if let Err(error) = file.write_all_at(line, self.len) {
            // What was written of it is a torn tail.
            self.suspect = file.set_len(self.len).is_err();
            return Err(error);
        }
        if let Err(error) = file.sync_data() {
            self.suspect = true;
            // Whoever wrote this is told that it did not happen: it must not come back.
            drop(file.set_len(self.len));
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Puts what `write` writes in the place of the file: whoever looks sees the old one or the new
    /// one, also after a crash.
    pub(super) fn replace(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.path.join("objects.new");
        let file = private().create(true).truncate(true).open(&path)?;
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let written = write(&mut out).and_then(|()| out.flush()).and_then(|()| file.sync_all());
        drop(out);
        if let Err(error) = written {
            // Room for the old file to go on.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        let len = file.metadata()?.len();
        fs::rename(&path, self.path())?;
        // From here on the old file is nobody's; a failure below must not go on with it.
        self.file = Some(file);
        self.len = len;
        self.suspect = true;
        File::open(&self.path)?.sync_all()?;
        self.suspect = false;
        Ok(())
    }
}

/// Readable and writable by us alone: objects hold secrets.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}
