//! The file under the ledger: appended durably, replaced atomically, with room kept in reserve.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, Flock, FlockArg, fallocate};

use super::OpenError;

/// Reserved beyond what releases need, so that small disks' rounding does not bite.
const SLACK: u64 = 4096;

/// Disk is reserved in steps of this size, so that not every commit asks for it.
const STEP: u64 = 64 * 1024;

/// The open file and the lock on its directory.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    /// Held for as long as this value lives.
    _lock: Flock<File>,
    file: File,
    /// Bytes that are known to be durable; the next commit is written here.
    len: u64,
    /// End of the room that is allocated.
    reserved_to: u64,
    /// A sync failed: the kernel may have dropped what it held, so the file must be written anew.
    suspect: bool,
}

impl Store {
    /// Locks `dir` and reads the ledger in it, if there is one.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<Vec<u8>>), OpenError> {
        let fail = |attempt: String| move |cause| OpenError::Io { attempt, cause };
        fs::create_dir_all(dir).map_err(fail(format!("create {}", dir.display())))?;
        let lock_path = dir.join("ledger.lock");
        let lock = private().create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(fail(format!("open {}", lock_path.display())))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
            if errno == Errno::EWOULDBLOCK {
                OpenError::InUse(lock_path.clone())
            } else {
                fail(format!("lock {}", lock_path.display()))(errno.into())
            }
        })?;
        let path = dir.join("ledger");
        let mut text = Vec::new();
        let (file, found) = match private().open(&path) {
            Ok(mut file) => {
                file.read_to_end(&mut text).map_err(fail(format!("read {}", path.display())))?;
                (file, true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Never written to: `replace` puts a real one in its place.
                (lock.try_clone().map_err(fail("open the ledger".to_owned()))?, false)
            }
            Err(error) => return Err(fail(format!("open {}", path.display()))(error)),
        };
        let dir = dir.to_owned();
        let store = Store { dir, _lock: lock, file, len: 0, reserved_to: 0, suspect: false };
        Ok((store, found.then_some(text)))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.join("ledger")
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file must be replaced before anything else is appended.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Goes on after `whole` bytes of the file that was found and cuts off the rest.
    pub(super) fn resume(&mut self, whole: u64, releases: u64) -> Result<(), OpenError> {
        self.len = whole;
        let cut = self.file.set_len(whole).and_then(|()| self.file.sync_all());
        cut.map_err(|cause| OpenError::Io {
            attempt: format!("cut {} to {whole} bytes", self.path().display()),
            cause,
        })?;
        // A disk that is full by now is found out by the next ADD, which says so.
        drop(self.reserve(releases));
        Ok(())
    }

    /// Moves a damaged ledger out of the way.
    pub(super) fn keep_aside(&self, now: u64) -> Result<PathBuf, OpenError> {
        let kept = self.dir.join(format!("ledger.corrupt-{now}"));
        fs::rename(self.path(), &kept).map_err(|cause| OpenError::Io {
            attempt: format!("rename {} to {}", self.path().display(), kept.display()),
            cause,
        })?;
        Ok(kept)
    }

    /// Makes sure that `room` more bytes can be appended whatever else fills the disk.
    pub(super) fn reserve(&mut self, room: u64) -> io::Result<()> {
        let end = self.len + room + SLACK;
        if end <= self.reserved_to {
            return Ok(());
        }
        for end in [end.next_multiple_of(STEP), end] {
            match allocate(&self.file, self.len, end - self.len) {
                Ok(()) => {
                    self.reserved_to = end;
                    return Ok(());
                }
                Err(Errno::ENOSPC | Errno::EDQUOT) => {}
                // A file system that cannot reserve: writes themselves find out.
                Err(Errno::EOPNOTSUPP) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::ENOSPC.into())
    }

    /// Appends `line` durably.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(line, self.len) {
            // What was written of it is a torn tail; cutting it off also gives up the reserve.
            let reserved = self.reserved_to.saturating_sub(self.len);
            self.suspect = self.file.set_len(self.len).is_err();
            self.reserved_to = 0;
            drop(self.reserve(reserved.saturating_sub(SLACK)));
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            self.suspect = true;
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }

    /// Puts `text` in the place of the ledger: whoever looks sees the old one or the new one, also
    /// after a crash. `releases` bytes are reserved behind it.
    pub(super) fn replace(&mut self, text: &[u8], releases: u64) -> io::Result<()> {
        let path = self.dir.join("ledger.new");
        let file = private().create(true).truncate(true).open(&path)?;
        file.write_all_at(text, 0)?;
        let end = (text.len() as u64 + releases + SLACK).next_multiple_of(STEP);
        let reserved = allocate(&file, text.len() as u64, end - text.len() as u64);
        if reserved == Err(Errno::ENOSPC) && self.reserved_to > 0 && !self.suspect {
            // The old file has its reserve, so it is the better one.
            fs::remove_file(&path)?;
            return Err(Errno::ENOSPC.into());
        }
        file.sync_all()?;
        fs::rename(&path, self.path())?;
        File::open(&self.dir)?.sync_all()?;
        self.file = file;
        self.len = text.len() as u64;
        self.reserved_to = if reserved.is_ok() { end } else { 0 };
        self.suspect = false;
        Ok(())
    }
}

/// Readable and writable by us alone: the ledger names pods.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn allocate(file: &File, from: u64, len: u64) -> Result<(), Errno> {
    let signed = |bytes: u64| i64::try_from(bytes).map_err(|_| Errno::EFBIG);
    fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, signed(from)?, signed(len)?)
}
