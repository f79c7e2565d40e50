//! Secrets of the server that outlive it where it has a state directory: each is a file that only
//! its owner may read, made once.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A secret could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}")]
pub struct KeyError {
    attempt: String,
    #[source]
    cause: io::Error,
}

/// Where secrets are kept; nowhere, for a server that starts anew each time.
#[derive(Debug)]
pub(crate) struct Keys(Option<PathBuf>);

impl Keys {
    pub(crate) fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(Path::to_owned))
    }

    /// The secret named `name`; if there is none yet, what `make` makes.
    ///
    /// # Errors
    /// [`KeyError`], or what `make` says.
    pub(crate) fn keep<E: From<KeyError>>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let Some(directory) = &self.0 else { return make() };
        let path = directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if text.is_empty() => {
                let cause = io::Error::new(io::ErrorKind::InvalidData, "it is empty");
                Err(KeyError { attempt: format!("read {}", path.display()), cause })?
            }
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = make()?;
                write(directory, &path, &text).map_err(|cause| {
                    let attempt = format!("write {}", path.display());
                    KeyError { attempt, cause }
                })?;
                Ok(text)
            }
            Err(cause) => Err(KeyError { attempt: format!("read {}", path.display()), cause })?,
        }
    }
}

/// Puts a whole file in place, or none.
fn write(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}
