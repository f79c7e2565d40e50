//! Archives of images: those of the OCI image layout, and those that `docker save` writes.
//!
//! Source: OCI image specification ("Image Layout", "Image Manifest", "Image Index", "Image
//! Configuration"); moby image specification v1.2 (`manifest.json`). Every digest is verified.

mod files;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layer::{self, Pool};
use crate::architecture::architecture;
use files::Files;

/// Why an archive is not used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It can't be read or unpacked.
    #[error("{attempt}")]
    Files {
        /// What was attempted.
        attempt: String,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// It is not what it should be.
    #[error("{0}")]
    Odd(String),
}

/// What a container of an image runs, unless its manifest says otherwise.
///
/// Source: OCI image configuration, `config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The beginning of the command.
    pub entrypoint: Option<Vec<String>>,
    /// The rest of it.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The user, and perhaps a group.
    pub user: Option<String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
}

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Found {
    /// Names it goes by, as the archive has them.
    pub names: Vec<String>,
    /// SHA-256 of its configuration, in hexadecimal: its id.
    pub id: String,
    /// Digest of its manifest, if the archive has one.
    pub digest: Option<String>,
    /// See [`Config`].
    pub config: Config,
    /// Its layers: where they are in the archive, and what they are when unpacked.
    layers: Vec<(String, String)>,
}

/// An archive, open.
pub(super) struct Archive(Files);

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

/// An index or a manifest: which one shows in what it has.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default)]
    architecture: String,
    config: Option<Config>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// An error of the operating system, with what was attempted.
fn failed(attempt: impl Into<String>) -> impl FnOnce(io::Error) -> ArchiveError {
    move |cause| ArchiveError::Files { attempt: attempt.into(), cause }
}

impl Archive {
    /// Opens the archive at `path`; one that is compressed as a whole is unpacked into `scratch`.
    ///
    /// # Errors
    /// If it is no tar archive.
    pub(super) fn open(path: &Path, scratch: &Path) -> Result<Self, ArchiveError> {
        Files::open(path, scratch).map(Self)
    }

    /// The images of the archive that this machine can run.
    ///
    /// # Errors
    /// If there is none, or one that is not whole.
    pub(super) fn images(&self) -> Result<Vec<Found>, ArchiveError> {
        if self.0.has("manifest.json") {
            let saved: Vec<Saved> = self.read("manifest.json", None)?;
            return saved.into_iter().map(|saved| self.saved(saved)).collect();
        }
        if !self.0.has("index.json") {
            let why =
                "it has neither index.json (OCI image layout) nor manifest.json (docker save)";
            return Err(ArchiveError::Odd(why.to_owned()));
        }
        let index: Document = self.read("index.json", None)?;
        let mut found = Vec::new();
        let mut others = Vec::new();
        for descriptor in &index.manifests {
            self.walk(descriptor, &names(descriptor), 0, &mut found, &mut others)?;
        }
        if found.is_empty() {
            let (own, others) = (architecture(), others.join(", "));
            let why = format!("it has no image for linux/{own}; it has: {others}");
            return Err(ArchiveError::Odd(why));
        }
        Ok(found)
    }

    /// Follows an index down to the images of this machine's architecture.
    fn walk(
        &self,
        descriptor: &Descriptor,
        inherited: &[String],
        depth: u32,
        found: &mut Vec<Found>,
        others: &mut Vec<String>,
    ) -> Result<(), ArchiveError> {
        if let Some(platform) = &descriptor.platform
            && (platform.os != "linux" || platform.architecture != architecture())
        {
            others.push(format!("{}/{}", platform.os, platform.architecture));
            return Ok(());
        }
        let document: Document = self.read(&blob(&descriptor.digest), Some(&descriptor.digest))?;
        if let Some(config) = &document.config {
            let blobs = document.layers.iter().map(|layer| blob(&layer.digest)).collect();
            let path = blob(&config.digest);
            let mut image = self.image(&path, blobs, inherited.to_vec())?;
            if config.digest != format!("sha256:{}", image.0.id) {
                return Err(ArchiveError::Odd(format!("{path}: its digest is another")));
            }
            if image.1.as_str() != architecture() && !image.1.is_empty() {
                others.push(format!("linux/{}", image.1));
                return Ok(());
            }
            image.0.digest = Some(descriptor.digest.clone());
            found.push(image.0);
            return Ok(());
        }
        if depth > 3 {
            return Err(ArchiveError::Odd("indexes within indexes go too deep".to_owned()));
        }
        for next in &document.manifests {
            let own = names(next);
            let names = if own.is_empty() { inherited } else { &own };
            self.walk(next, names, depth + 1, found, others)?;
        }
        Ok(())
    }

    fn saved(&self, saved: Saved) -> Result<Found, ArchiveError> {
        let (image, built_for) =
            self.image(&saved.config, saved.layers, saved.repo_tags.unwrap_or_default())?;
        if built_for != architecture() && !built_for.is_empty() {
            let own = architecture();
            let why = format!("the image is for linux/{built_for}; this machine is linux/{own}");
            return Err(ArchiveError::Odd(why));
        }
        Ok(image)
    }

    /// The image with the configuration at `path`, and the architecture that it is for.
    fn image(
        &self,
        path: &str,
        blobs: Vec<String>,
        names: Vec<String>,
    ) -> Result<(Found, String), ArchiveError> {
        let text = self.0.bytes(path)?;
        let config: ImageConfig = parse(path, &text)?;
        let ids = config.rootfs.diff_ids;
        if ids.len() != blobs.len() {
            let why = format!("{path}: {} layers, but {} diff_ids", blobs.len(), ids.len());
            return Err(ArchiveError::Odd(why));
        }
        let found = Found {
            names,
            id: hex(aws_lc_rs::digest::digest(&SHA256, &text).as_ref()),
            digest: None,
            config: config.config.unwrap_or_default(),
            layers: blobs.into_iter().zip(ids).collect(),
        };
        Ok((found, config.architecture))
    }

    /// Unpacks `image` into the empty directory `root`; how many bytes of files it has. What it shares with
    /// images that were unpacked before is in `layers`, and stays there once.
    ///
    /// # Errors
    /// A layer that is not what its digest says, or that can't be unpacked.
    pub(super) fn unpack(
        &self,
        image: &Found,
        root: &Path,
        layers: &Path,
    ) -> Result<u64, ArchiveError> {
        let fresh = layers.join("fresh");
        let mut bytes = 0;
        for (path, id) in &image.layers {
            let name = id.strip_prefix("sha256:").filter(|name| is_sum(name)).ok_or_else(|| {
                ArchiveError::Odd(format!("layer {path}: {id:?} is no digest of a layer"))
            })?;
            let kept = layers.join(name);
            if kept.is_dir() {
                bytes += self.lay(path, id, root, Pool::Known(&kept))?;
                continue;
            }
            let attempt = || format!("write to {}", layers.display());
            drop(fs::remove_dir_all(&fresh));
            fs::create_dir_all(&fresh).map_err(failed(attempt()))?;
            bytes += self.lay(path, id, root, Pool::New(&fresh)).inspect_err(|_| {
                drop(fs::remove_dir_all(&fresh));
                // Only if there is no other.
                drop(fs::remove_dir(layers));
            })?;
            fs::rename(&fresh, &kept).map_err(failed(attempt()))?;
        }
        Ok(bytes)
    }

    /// Lays the layer at `path` over `root`, and makes sure that it is the one called `id`.
    fn lay(&self, path: &str, id: &str, root: &Path, pool: Pool<'_>) -> Result<u64, ArchiveError> {
        let attempt = || format!("unpack layer {path}");
        let raw = self.0.reader(path)?;
        let mut hashed = Hashed {
            reader: decompressed(raw).map_err(failed(attempt()))?,
            sum: Context::new(&SHA256),
        };
        let bytes = layer::apply(&mut hashed, root, pool).map_err(failed(attempt()))?;
        // The padding at the end belongs to the digest.
        layer::drain(&mut hashed).map_err(failed(attempt()))?;
        let found = format!("sha256:{}", hex(hashed.sum.finish().as_ref()));
        if found != *id {
            let why = format!("layer {path} is damaged: {id} was expected, it is {found}");
            return Err(ArchiveError::Odd(why));
        }
        Ok(bytes)
    }

    fn read<T: DeserializeOwned>(
        &self,
        path: &str,
        digest: Option<&str>,
    ) -> Result<T, ArchiveError> {
        let text = self.0.bytes(path)?;
        if let Some(digest) = digest {
            let found =
                format!("sha256:{}", hex(aws_lc_rs::digest::digest(&SHA256, &text).as_ref()));
            if found != digest {
                let why = format!("{path} is damaged: {digest} was expected, it is {found}");
                return Err(ArchiveError::Odd(why));
            }
        }
        parse(path, &text)
    }
}

/// What a layer's bytes are when they are unpacked, whichever compression it has.
fn decompressed(raw: io::Take<BufReader<File>>) -> io::Result<Box<dyn Read>> {
    let mut raw = BufReader::new(raw);
    let start = io::BufRead::fill_buf(&mut raw)?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(raw)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(raw);
            Box::new(decoder.map_err(|error| io::Error::other(error.to_string()))?)
        }
        _ => Box::new(raw),
    })
}

struct Hashed<R> {
    reader: R,
    sum: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.sum.update(&buffer[..read]);
        Ok(read)
    }
}

/// The name that is whole, else the one that may be.
fn names(descriptor: &Descriptor) -> Vec<String> {
    let known = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
    let named = known.iter().find_map(|key| descriptor.annotations.get(*key));
    // A tag alone names no image.
    named.filter(|name| name.contains([':', '/'])).cloned().into_iter().collect()
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

fn parse<T: DeserializeOwned>(path: &str, text: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(text).map_err(|error| ArchiveError::Odd(format!("{path}: {error}")))
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
