//! Reading a snapshot: all of it, or none.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::decode::{self, DecodeError};
use model::{ClusterPolicy, NodeName, OrdMap};

use super::{MAGIC, Objects, VERSION, path};

/// Longest line, in bytes: more than the API server takes for an object.
const LONGEST_LINE: u64 = 8 * 1024 * 1024;

/// What a snapshot holds.
#[derive(Debug)]
pub(crate) struct Recalled {
    /// When it was written, since 1970.
    pub(crate) written: Duration,
    /// The cluster as it was then.
    pub(crate) objects: Objects,
}

/// A snapshot that is there and is not used.
#[derive(Debug, thiserror::Error)]
#[error("{} is not used: {why}", path.display())]
pub(crate) struct Refused {
    path: PathBuf,
    why: Damage,
}

/// Why a text is no snapshot.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its first line is not that of a snapshot")]
    Header,
    #[error("it has version {0}, and this agent reads version {VERSION}")]
    Version(u32),
    #[error("it was written on node {0}")]
    Node(String),
    #[error("line {0} is none of a snapshot")]
    Line(usize),
    #[error("line {0}: {1}")]
    Object(usize, DecodeError),
    #[error("it ends before its end")]
    Torn,
    #[error("its checksum or its number of objects is another one than its end says")]
    Checksum,
}

/// Reads the snapshot in `state_dir`, if there is one, which `node` has to have written.
///
/// # Errors
/// [`Refused`].
pub(crate) fn read(state_dir: &Path, node: &NodeName) -> Result<Option<Recalled>, Refused> {
    let path = path(state_dir);
    let read = match File::open(&path) {
        Ok(file) => take(BufReader::new(file), node),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error.into()),
    };
    read.map(Some).map_err(|why| Refused { path, why })
}

fn take(mut text: impl BufRead, node: &NodeName) -> Result<Recalled, Damage> {
    let (mut line, mut sum) = (Vec::new(), crc32fast::Hasher::new());
    next(&mut text, &mut line)?;
    let written = header(&line, node)?;
    let mut objects = Objects::default();
    let (mut number, mut count) = (1, 0);
    loop {
        sum.update(&line);
        number += 1;
        next(&mut text, &mut line)?;
        let words = line.strip_suffix(b"\n").ok_or(Damage::Torn)?;
        let space = words.iter().position(|byte| *byte == b' ').ok_or(Damage::Line(number))?;
        let (kind, json) = (&words[..space], &words[space + 1..]);
        if kind == b"end" {
            let is_whole = *json == *format!("{count} {:08x}", sum.finalize()).as_bytes();
            let is_last = text.read(&mut [0])? == 0;
            return match is_whole && is_last {
                true => Ok(Recalled { written, objects }),
                false => Err(Damage::Checksum),
            };
        }
        let is_known = objects.put(kind, json).map_err(|error| Damage::Object(number, error))?;
        count += usize::from(is_known);
        if !is_known {
            return Err(Damage::Line(number));
        }
    }
}

/// The next line into `line`, with its end.
fn next(text: &mut impl BufRead, line: &mut Vec<u8>) -> Result<(), Damage> {
    line.clear();
    if text.by_ref().take(LONGEST_LINE).read_until(b'\n', line)? == 0 {
        return Err(Damage::Torn);
    }
    Ok(())
}

/// When a snapshot with this first line was written.
fn header(line: &[u8], node: &NodeName) -> Result<Duration, Damage> {
    let words = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix('\n'));
    let words: Vec<&str> = words.ok_or(Damage::Header)?.split(' ').collect();
    let [MAGIC, version, rest @ ..] = &words[..] else { return Err(Damage::Header) };
    let version: u32 = version.parse().map_err(|_| Damage::Header)?;
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let [writer, written] = rest else { return Err(Damage::Header) };
    if *writer != node.as_str() {
        return Err(Damage::Node((*writer).to_owned()));
    }
    written.parse().map(Duration::from_secs).map_err(|_| Damage::Header)
}

impl Objects {
    /// Takes an object of this kind; `false` when there is no such kind, or it is none of ours.
    pub(super) fn put(&mut self, kind: &[u8], json: &[u8]) -> Result<bool, DecodeError> {
        fn insert<K: Ord + Clone, V>(map: &mut OrdMap<K, Arc<V>>, key: K, value: V) {
            map.insert(key, Arc::new(value));
        }
        match kind {
            b"Node" => {
                let node = decode::node(json)?;
                insert(&mut self.nodes, node.name.clone(), node);
            }
            b"Namespace" => {
                let namespace = decode::namespace(json)?;
                insert(&mut self.namespaces, Arc::clone(&namespace.name), namespace);
            }
            b"ServiceCIDR" => {
                let cidr = decode::service_cidr(json)?;
                insert(&mut self.service_cidrs, Arc::clone(&cidr.name), cidr);
            }
            b"Service" => {
                let service = decode::service(json)?;
                insert(&mut self.services, service.name.clone(), service);
            }
            b"EndpointSlice" => {
                let Some(slice) = decode::endpoint_slice(json)? else { return Ok(false) };
                insert(&mut self.slices, slice.key.clone(), slice);
            }
            b"Pod" => {
                let pod = decode::pod(json)?;
                insert(&mut self.pods, pod.name.clone(), pod);
            }
            b"NetworkPolicy" => {
                let policy = decode::network_policy(json)?;
                insert(&mut self.policies, policy.name.clone(), policy);
            }
            b"ClusterNetworkPolicy" => self.put_policy(decode::cluster_policy(json)?),
            b"AdminNetworkPolicy" => self.put_policy(decode::admin_policy(json)?),
            b"BaselineAdminNetworkPolicy" => self.put_policy(decode::baseline_policy(json)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn put_policy(&mut self, policy: ClusterPolicy) {
        self.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
    }
}
