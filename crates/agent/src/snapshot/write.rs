//! Writing a snapshot: object by object, and in the place of the old one only when it is durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{NodeName, OrdMap, encode};
use serde_json::Value;

use super::{FILE, MAGIC, NEW_FILE, Objects, VERSION};

/// Puts a snapshot of `objects`, as `node` knows them at `now` (since 1970), in the place of the one in
/// `state_dir`. Returns its length in bytes.
///
/// # Errors
/// When the file system says no; the old snapshot is there still.
pub(super) fn write(
    state_dir: &Path,
    node: &NodeName,
    objects: &Objects,
    now: Duration,
) -> io::Result<u64> {
    let path = state_dir.join(NEW_FILE);
    // Readable by us alone, as the ledger is: it names what runs in the cluster.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path)?;
    let written = fill(file, node, objects, now).and_then(|len| {
        fs::rename(&path, state_dir.join(FILE))?;
        File::open(state_dir)?.sync_all()?;
        Ok(len)
    });
    if written.is_err() {
        // Half of one is of no use to anybody, and takes room that leases may need.
        drop(fs::remove_file(&path));
    }
    written
}

fn fill(file: File, node: &NodeName, objects: &Objects, now: Duration) -> io::Result<u64> {
    let mut text = Summed { inner: BufWriter::new(file), sum: crc32fast::Hasher::new(), len: 0 };
    writeln!(text, "{MAGIC} {VERSION} {node} {}", now.as_secs())?;
    let Objects { nodes, services, slices, service_cidrs, namespaces, .. } = objects;
    let Objects { pods, policies, cluster_policies, .. } = objects;
    let count = text.objects(|_| "Node", nodes, encode::node)?
        + text.objects(|_| "Namespace", namespaces, encode::namespace)?
        + text.objects(|_| "ServiceCIDR", service_cidrs, encode::service_cidr)?
        + text.objects(|_| "Service", services, encode::service)?
        + text.objects(|_| "EndpointSlice", slices, encode::endpoint_slice)?
        + text.objects(|_| "Pod", pods, encode::pod)?
        + text.objects(|_| "NetworkPolicy", policies, encode::network_policy)?
        + text.objects(|it| it.name.kind.as_str(), cluster_policies, encode::cluster_policy)?;
    let sum = text.sum.clone().finalize();
    writeln!(text, "end {count} {sum:08x}")?;
    let file = text.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(text.len)
}

/// What is written, with its length and its checksum.
struct Summed<W> {
    inner: W,
    sum: crc32fast::Hasher,
    len: u64,
}

impl<W: Write> Summed<W> {
    /// A line for each of `objects`, with its kind and its JSON. Returns how many that were.
    fn objects<K: Ord, V>(
        &mut self,
        kind: fn(&V) -> &'static str,
        objects: &OrdMap<K, Arc<V>>,
        encode: fn(&V) -> Value,
    ) -> io::Result<usize> {
        for object in objects.values() {
            writeln!(self, "{} {}", kind(object), encode(object))?;
        }
        Ok(objects.len())
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.sum.update(&bytes[..len]);
        self.len += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
