//! The images of a lab: unpacked once, in a folder that all its nodes see.
//!
//! ```text
//! images/index.json      which images there are; replaced as a whole
//! images/<id>/           the root of one
//! images/layers/<id>/    the files of a layer, of which roots have further names
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::{Archive, ArchiveError, Config};
use super::name::Name;

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// SHA-256 of its configuration, in hexadecimal.
    pub id: String,
    /// Digest of its manifest, if it came with one.
    pub digest: Option<String>,
    /// The names it goes by, in full.
    pub names: Vec<String>,
    /// What its containers run.
    pub config: Config,
    /// How large its files are, in bytes.
    pub bytes: u64,
}

/// The folder of a lab's images, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    path: PathBuf,
}

/// An image that could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("load image archive {path}")]
pub struct LoadError {
    path: String,
    #[source]
    cause: ArchiveError,
}

impl Store {
    /// The store at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Loads the images of the archive at `path`, under the names they have in it or, if it is only
    /// one, under `named`. Gives those names, in full.
    ///
    /// # Errors
    /// [`LoadError`] with what is wrong; the images that were there stay as they are.
    pub fn load(&self, path: &Path, named: Option<&str>) -> Result<Vec<String>, LoadError> {
        let loaded = self.try_load(path, named);
        loaded.map_err(|cause| LoadError { path: path.display().to_string(), cause })
    }

    fn try_load(&self, path: &Path, named: Option<&str>) -> Result<Vec<String>, ArchiveError> {
        let attempt = format!("write to {}", self.path.display());
        let files = |cause| ArchiveError::Files { attempt: attempt.clone(), cause };
        std::fs::create_dir_all(&self.path).map_err(files)?;
        let lock = File::create(self.path.join("lock")).map_err(files)?;
        // One at a time: whoever comes second adds to what the first has written.
        lock.lock().map_err(files)?;
        let archive = Archive::open(path, &self.path.join("archive"))?;
        let images = archive.images()?;
        if named.is_some() && images.len() != 1 {
            let why = format!("it has {} images, which can't all have one name", images.len());
            return Err(ArchiveError::Odd(why));
        }
        let mut index = self.images().map_err(files)?;
        let mut told = Vec::new();
        for image in images {
            let names = full_names(named, &image.names)?;
            let root = self.root(&image.id);
            let bytes = match index.iter().find(|kept| kept.id == image.id) {
                Some(kept) => kept.bytes,
                None => {
                    let (fresh, layers) = (self.path.join("fresh"), self.path.join("layers"));
                    drop(std::fs::remove_dir_all(&fresh));
                    std::fs::create_dir(&fresh).map_err(files)?;
                    let bytes = archive.unpack(&image, &fresh, &layers).inspect_err(|_| {
                        drop(std::fs::remove_dir_all(&fresh));
                    })?;
                    drop(std::fs::remove_dir_all(&root));
                    std::fs::rename(&fresh, &root).map_err(files)?;
                    bytes
                }
            };
            for kept in &mut index {
                kept.names.retain(|name| !names.contains(name));
            }
            let (id, digest, config) = (image.id, image.digest, image.config);
            told.extend(names.clone());
            match index.iter_mut().find(|kept| kept.id == id) {
                Some(kept) => kept.names.extend(names),
                None => index.push(Kept { id, digest, names, config, bytes }),
            }
        }
        self.write(&index).map_err(files)?;
        Ok(told)
    }

    /// The images that are there; none if the store isn't.
    ///
    /// # Errors
    /// If the index can't be read.
    pub fn images(&self) -> io::Result<Vec<Kept>> {
        match std::fs::read(self.path.join("index.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => Ok(serde_json::from_slice(&read?)?),
        }
    }

    /// The image called `image`, and where its root is.
    ///
    /// # Errors
    /// If the index can't be read.
    pub(crate) fn find(&self, image: &str) -> io::Result<Option<(Kept, PathBuf)>> {
        let Some(name) = Name::parse(image) else { return Ok(None) };
        let is_it = |kept: &Kept| match &name.digest {
            None => kept.names.contains(&name.key()),
            Some(digest) => {
                let repository = |known: &String| {
                    Name::parse(known).is_some_and(|known| known.repository == name.repository)
                };
                (kept.digest.as_ref() == Some(digest) || *digest == format!("sha256:{}", kept.id))
                    && kept.names.iter().any(repository)
            }
        };
        let found = self.images()?.into_iter().find(is_it);
        Ok(found.map(|kept| {
            let root = self.root(&kept.id);
            (kept, root)
        }))
    }

    fn root(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    fn write(&self, index: &[Kept]) -> io::Result<()> {
        let fresh = self.path.join("index.new");
        std::fs::write(&fresh, serde_json::to_vec_pretty(index)?)?;
        std::fs::rename(&fresh, self.path.join("index.json"))
    }
}

fn full_names(named: Option<&str>, own: &[String]) -> Result<Vec<String>, ArchiveError> {
    let wanted: Vec<&str> = match named {
        Some(name) => vec![name],
        None => own.iter().map(String::as_str).collect(),
    };
    if wanted.is_empty() {
        let why = "the image has no name in the archive; give it one with --as NAME";
        return Err(ArchiveError::Odd(why.to_owned()));
    }
    let full = |name: &str| {
        let parsed = Name::parse(name).map(|name| name.key());
        parsed.ok_or_else(|| ArchiveError::Odd(format!("{name:?} is no name of an image")))
    };
    wanted.into_iter().map(full).collect()
}
