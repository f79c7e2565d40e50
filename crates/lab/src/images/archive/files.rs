//! The files of a tar archive: found by their paths, read where they lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::{ArchiveError, failed};

/// Longest document in an archive, in bytes.
const LONGEST: u64 = 4 << 20;
/// How many links a path may go through.
const LINKS: u32 = 8;

/// An archive, open.
pub(super) struct Files {
    file: File,
    /// Files by path: where they begin, and how long they are.
    files: BTreeMap<String, (u64, u64)>,
    links: BTreeMap<String, String>,
}

impl Files {
    /// Opens the archive at `path`; one that is compressed as a whole is unpacked into `scratch`.
    ///
    /// # Errors
    /// If it is no tar archive.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, ArchiveError> {
        let attempt = || format!("read {}", path.display());
        let mut file = File::open(path).map_err(failed(attempt()))?;
        let mut start = [0; 2];
        let read = file.read(&mut start).map_err(failed(attempt()))?;
        file.rewind().map_err(failed(attempt()))?;
        if start[..read] == [0x1f, 0x8b] {
            let mut plain = File::options().read(true).write(true).create_new(true).open(scratch);
            let plain = plain.as_mut().map_err(|error| io::Error::from(error.kind()));
            let plain = plain.map_err(failed(format!("create {}", scratch.display())))?;
            // It has a name only as long as that takes.
            std::fs::remove_file(scratch).map_err(failed("remove a file without a name"))?;
            io::copy(&mut MultiGzDecoder::new(BufReader::new(file)), plain)
                .map_err(failed(format!("decompress {}", path.display())))?;
            file = plain.try_clone().map_err(failed(attempt()))?;
        }
        Self::index(file).map_err(failed(attempt()))
    }

    fn index(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        let (mut found, mut links) = (BTreeMap::new(), BTreeMap::new());
        let mut archive = tar::Archive::new(BufReader::new(file.try_clone()?));
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let path = plain(&entry.path()?);
            match entry.link_name()? {
                Some(target) => {
                    let above = Path::new(&path).parent().unwrap_or(Path::new(""));
                    links.insert(path.clone(), plain(&above.join(target)));
                }
                None => drop(found.insert(path, (entry.raw_file_position(), entry.size()))),
            }
        }
        Ok(Self { file, files: found, links })
    }

    /// Whether there is a file at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// All of the document at `path`.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, ArchiveError> {
        let mut text = Vec::new();
        let mut reader = self.reader(path)?.take(LONGEST);
        reader.read_to_end(&mut text).map_err(failed(format!("read {path}")))?;
        Ok(text)
    }

    /// The file at `path`; links on the way are followed.
    ///
    /// # Errors
    /// If there is none, or it can't be read.
    pub(super) fn reader(&self, path: &str) -> Result<io::Take<BufReader<File>>, ArchiveError> {
        let mut path = plain(Path::new(path));
        for _ in 0..LINKS {
            match self.links.get(&path) {
                Some(target) => path = target.clone(),
                None => break,
            }
        }
        let (start, length) =
            *self.files.get(&path).ok_or_else(|| ArchiveError::Odd(format!("it has no {path}")))?;
        // Its position is shared with the archive's: nobody else reads meanwhile.
        let mut file = self.file.try_clone().map_err(failed("read the archive"))?;
        file.seek(SeekFrom::Start(start)).map_err(failed("read the archive"))?;
        Ok(BufReader::new(file).take(length))
    }
}

/// A path in an archive, without `.` and `..`.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain.to_string_lossy().into_owned()
}
