//! Images in the OCI layout, each an archive of its own: the same files always give the same bytes.
//!
//! Source: OCI image specification 1.1 ("Image Layout", "Image Manifest", "Image Configuration",
//! "Annotations"); gzip as in RFC 1952, without a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::architecture::architecture;
use crate::run::Result;

/// A file of an image.
pub(crate) struct File {
    /// Without a slash at the start.
    pub(crate) path: &'static str,
    /// The permission bits.
    pub(crate) mode: u32,
    pub(crate) bytes: Vec<u8>,
}

/// An image of one layer, for this machine's architecture.
pub(crate) struct Image {
    /// The name in full, like `localhost/seaway/pause:0.1.0`: containerd's CRI looks under that only.
    pub(crate) name: String,
    /// See "Annotations" of the specification; they are the image's labels as well.
    pub(crate) annotations: BTreeMap<&'static str, String>,
    /// The beginning of the command.
    pub(crate) entrypoint: &'static str,
    /// The rest of it.
    pub(crate) arguments: &'static [&'static str],
    /// `NAME=value`.
    pub(crate) environment: &'static [&'static str],
    /// Number of the user and of the group.
    pub(crate) user: &'static str,
    pub(crate) files: Vec<File>,
}

/// An image as an archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) archive: Vec<u8>,
    /// Of the manifest: what registries and runtimes know the image by.
    pub(crate) digest: String,
    /// How many bytes the layer has, compressed.
    pub(crate) compressed: usize,
}

impl Image {
    /// The image as an archive.
    ///
    /// # Errors
    /// A file whose name is too long for tar.
    pub(crate) fn pack(&self) -> Result<Packed> {
        let layer =
            layer(&self.files).map_err(|e| format!("pack a layer of {}: {e}", self.name))?;
        let unpacked_digest = digest(&layer);
        let layer =
            gzip(&layer).map_err(|e| format!("compress the layer of {}: {e}", self.name))?;
        let platform = json!({ "architecture": architecture(), "os": "linux" });
        let config = json!({
            "architecture": platform["architecture"],
            "os": platform["os"],
            "config": {
                "User": self.user,
                "Env": self.environment,
                "Entrypoint": [self.entrypoint],
                "Cmd": self.arguments,
                "WorkingDir": "/",
                "Labels": self.annotations,
            },
            "rootfs": { "type": "layers", "diff_ids": [unpacked_digest] },
        });
        let mut blobs = Blobs::default();
        let compressed = layer.len();
        let layer = blobs.add("layer.v1.tar+gzip", layer);
        let config = blobs.add("config.v1+json", config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type("manifest.v1+json"),
            "config": config,
            "layers": [layer],
            "annotations": self.annotations,
        });
        let mut manifest = blobs.add("manifest.v1+json", manifest.to_string().into_bytes());
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["platform"] = platform;
        manifest["annotations"] = json!({
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name,
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type("index.v1+json"),
            "manifests": [manifest],
        });
        let archive =
            blobs.archive(&index).map_err(|e| format!("pack the archive of {}: {e}", self.name))?;
        Ok(Packed { archive, digest, compressed })
    }
}

/// Blobs by digest, without its algorithm.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a blob; its descriptor.
    fn add(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.0.insert(hex(&bytes), bytes);
        json!({ "mediaType": media_type(kind), "digest": digest, "size": size })
    }

    fn archive(self, index: &Value) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        append(&mut archive, "oci-layout", 0o644, Some(layout))?;
        append(&mut archive, "index.json", 0o644, Some(index.to_string().as_bytes()))?;
        append(&mut archive, "blobs/", 0o755, None)?;
        append(&mut archive, "blobs/sha256/", 0o755, None)?;
        for (digest, bytes) in &self.0 {
            append(&mut archive, &format!("blobs/sha256/{digest}"), 0o644, Some(bytes))?;
        }
        archive.into_inner()
    }
}

/// The files and the directories they are in, in the order of their names.
fn layer(files: &[File]) -> io::Result<Vec<u8>> {
    let folders =
        files.iter().flat_map(|file| file.path.match_indices('/').map(|(at, _)| &file.path[..=at]));
    let folders: BTreeSet<&str> = folders.collect();
    let files: BTreeMap<&str, &File> = files.iter().map(|file| (file.path, file)).collect();
    let mut archive = Builder::new(Vec::new());
    for folder in folders {
        append(&mut archive, folder, 0o755, None)?;
    }
    for (path, file) in files {
        append(&mut archive, path, file.mode, Some(&file.bytes))?;
    }
    archive.into_inner()
}

/// Appends a file, or a directory if there are no bytes: root's, and as old as time.
fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    bytes: Option<&[u8]>,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(if bytes.is_some() { EntryType::Regular } else { EntryType::Directory });
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let bytes = bytes.unwrap_or_default();
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn media_type(kind: &str) -> String {
    format!("application/vnd.oci.image.{kind}")
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

/// SHA-256 of `bytes`, in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image(files: &[(&'static str, &str)]) -> Image {
        let file = |(path, text): &(&'static str, &str)| File {
            path,
            mode: 0o644,
            bytes: text.as_bytes().to_vec(),
        };
        Image {
            name: "localhost/seaway/test:1".to_owned(),
            annotations: BTreeMap::from([("org.opencontainers.image.title", "test".to_owned())]),
            entrypoint: "/usr/bin/test",
            arguments: &["run"],
            environment: &["PATH=/usr/bin"],
            user: "0:0",
            files: files.iter().map(file).collect(),
        }
    }

    /// An entry of an archive; of its header, what could differ.
    #[derive(Debug)]
    struct Entry {
        path: String,
        bytes: Vec<u8>,
        /// User, group, time and mode.
        said: [u64; 4],
    }

    fn entries(archive: &[u8]) -> Vec<Entry> {
        let mut archive = tar::Archive::new(archive);
        let entry = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
            let mode = u64::from(header.mode().unwrap());
            let said =
                [header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap(), mode];
            Entry { path, bytes, said }
        };
        archive.entries().unwrap().map(entry).collect()
    }

    #[test]
    fn an_image_is_the_same_bytes_in_whichever_order_its_files_come() {
        let files = [("usr/bin/test", "program"), ("etc/x", "x"), ("etc/a/b", "ab")];
        let packed = image(&files).pack().unwrap();
        let mut turned = files;
        turned.reverse();
        assert_eq!(packed, image(&turned).pack().unwrap());
        let other = image(&[files[0], files[1], ("etc/a/b", "other")]).pack().unwrap();
        assert_ne!(packed.digest, other.digest);
    }

    #[test]
    fn an_archive_is_a_layout_whose_blobs_are_what_their_names_say() {
        let packed = image(&[("usr/bin/test", "program"), ("etc/x", "x")]).pack().unwrap();
        let outer = entries(&packed.archive);
        let blob = |digest: &Value| {
            let path = format!("blobs/{}", digest.as_str().unwrap().replacen(':', "/", 1));
            let bytes = &outer.iter().find(|entry| entry.path == path).unwrap().bytes;
            assert_eq!(format!("blobs/sha256/{}", hex(bytes)), path);
            bytes.as_slice()
        };
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let index = outer.iter().find(|entry| entry.path == "index.json").unwrap();
        let descriptor = &json(&index.bytes)["manifests"][0];
        assert_eq!(descriptor["digest"], packed.digest.as_str());
        let names = &descriptor["annotations"];
        assert_eq!(names["org.opencontainers.image.ref.name"], "localhost/seaway/test:1");
        assert_eq!(names["io.containerd.image.name"], "localhost/seaway/test:1");
        let manifest = json(blob(&descriptor["digest"]));
        let config = json(blob(&manifest["config"]["digest"]));
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/test"]));
        assert_eq!(config["config"]["Labels"], manifest["annotations"]);
        let mut layer = Vec::new();
        let compressed = blob(&manifest["layers"][0]["digest"]);
        flate2::read::GzDecoder::new(compressed).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], digest(&layer).as_str());
        let inner = entries(&layer);
        let paths: Vec<&str> = inner.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["etc/", "usr/", "usr/bin/", "etc/x", "usr/bin/test"]);
        for Entry { path, said, .. } in inner.iter().chain(&outer) {
            let mode = if path.ends_with('/') { 0o755 } else { 0o644 };
            assert_eq!(*said, [0, 0, 0, mode], "{path}");
        }
    }
}
