//! What a line of the ledger says. Private wire shapes; the rest of the agent sees [`Entry`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Attachment, AttachmentKey, IfName, Mac, PodRef, PortMapping, SearchList};
use serde::{Deserialize, Serialize};

/// Version of the format this code writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;

/// First words of every ledger.
const HEADER: &str = "seaway-ledger";

/// One thing that happened to the leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The addresses of this attachment are its own from now on.
    Lease(Arc<Attachment>),
    /// The attachment is gone; its addresses rest from `at`, in seconds since 1970.
    Release {
        /// The attachment.
        key: AttachmentKey,
        /// When.
        at: u64,
    },
    /// This address was released at `at`; written when a ledger is compacted.
    Resting {
        /// The address.
        addr: IpAddr,
        /// When.
        at: u64,
    },
}

/// Why a line is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    /// It was not written whole, or changed afterwards.
    #[error("checksum does not match")]
    Checksum,
    /// It was written whole and says something this code does not know.
    #[error("{0}")]
    Content(String),
}

/// The header line of this version.
pub(super) fn header() -> Vec<u8> {
    sealed(format!("{HEADER} {VERSION}").as_bytes())
}

/// The version a header line names; `None` when it is no header.
pub(super) fn version(line: &[u8]) -> Option<u32> {
    let body = std::str::from_utf8(opened(line).ok()?).ok()?;
    body.strip_prefix(HEADER)?.trim_start().parse().ok()
}

/// One line that holds `entries`: all of them are read back, or none.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let wire: Vec<WireEntry> = entries.iter().map(WireEntry::from).collect();
    let json = serde_json::to_vec(&wire).expect("strings and numbers always serialize");
    sealed(&json)
}

/// The entries of one line, which ends before its newline.
pub(super) fn decode(line: &[u8]) -> Result<Vec<Entry>, BadLine> {
    let json = opened(line)?;
    let wire: Vec<WireEntry> =
        serde_json::from_slice(json).map_err(|e| BadLine::Content(e.to_string()))?;
    wire.into_iter().map(|entry| entry.read().map_err(BadLine::Content)).collect()
}

/// `crc32 body\n`, the checksum as eight hex digits.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut line = format!("{:08x} ", crc32fast::hash(body)).into_bytes();
    line.extend_from_slice(body);
    line.push(b'\n');
    line
}

fn opened(line: &[u8]) -> Result<&[u8], BadLine> {
    let (sum, body) = line.split_at_checked(9).ok_or(BadLine::Checksum)?;
    let sum = std::str::from_utf8(sum).ok().and_then(|text| text.strip_suffix(' '));
    let sum = sum.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or(BadLine::Checksum)?;
    if sum == crc32fast::hash(body) { Ok(body) } else { Err(BadLine::Checksum) }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireEntry {
    Lease(Box<WireLease>),
    Release { id: String, ifname: String, at: u64 },
    Resting { addr: IpAddr, at: u64 },
}

#[derive(Serialize, Deserialize)]
struct WireLease {
    id: String,
    ifname: String,
    network: String,
    netns: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<WirePod>,
    addrs: Vec<IpAddr>,
    mac: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ports: Vec<WirePort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    search: Option<WireSearch>,
}

#[derive(Serialize, Deserialize)]
struct WirePod {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Serialize, Deserialize)]
struct WirePort {
    host: u16,
    container: u16,
    protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host_ip: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct WireSearch {
    domains: Vec<String>,
    ndots: u8,
}

impl From<&Entry> for WireEntry {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Lease(attachment) => WireEntry::Lease(Box::new(WireLease::from(&**attachment))),
            Entry::Release { key, at } => WireEntry::Release {
                id: key.container_id.to_string(),
                ifname: key.ifname.to_string(),
                at: *at,
            },
            Entry::Resting { addr, at } => WireEntry::Resting { addr: *addr, at: *at },
        }
    }
}

impl From<&Attachment> for WireLease {
    fn from(attachment: &Attachment) -> Self {
        WireLease {
            id: attachment.key.container_id.to_string(),
            ifname: attachment.key.ifname.to_string(),
            network: attachment.network.clone(),
            netns: attachment.netns.to_string_lossy().into_owned(),
            pod: attachment.pod.as_ref().map(|pod| WirePod {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
            }),
            addrs: attachment.addrs.clone(),
            mac: attachment.mac.to_string(),
            ports: attachment
                .port_mappings
                .iter()
                .map(|port| WirePort {
                    host: port.host_port,
                    container: port.container_port,
                    protocol: port.protocol.to_string(),
                    host_ip: port.host_ip,
                })
                .collect(),
            search: attachment.search.as_ref().map(|search| WireSearch {
                domains: search.domains().iter().map(ToString::to_string).collect(),
                ndots: search.ndots(),
            }),
        }
    }
}

impl WireEntry {
    fn read(self) -> Result<Entry, String> {
        match self {
            WireEntry::Lease(lease) => lease.read().map(|a| Entry::Lease(Arc::new(a))),
            WireEntry::Release { id, ifname, at } => {
                Ok(Entry::Release { key: key(&id, &ifname)?, at })
            }
            WireEntry::Resting { addr, at } => Ok(Entry::Resting { addr, at }),
        }
    }
}

impl WireLease {
    fn read(self) -> Result<Attachment, String> {
        let ports = self.ports.into_iter().map(|port| {
            Ok(PortMapping {
                host_port: port.host,
                container_port: port.container,
                protocol: port.protocol.parse()?,
                host_ip: port.host_ip,
            })
        });
        let search = self.search.and_then(|WireSearch { domains, ndots }| {
            SearchList::new(&domains, &[format!("ndots:{ndots}")])
        });
        Ok(Attachment {
            key: key(&self.id, &self.ifname)?,
            network: self.network,
            netns: PathBuf::from(self.netns),
            pod: self.pod.map(|pod| PodRef {
                namespace: pod.namespace,
                name: pod.name,
                uid: pod.uid,
            }),
            addrs: self.addrs,
            mac: self.mac.parse::<Mac>().map_err(|e| e.to_string())?,
            port_mappings: ports.collect::<Result<_, String>>()?,
            search: search.map(Arc::new),
        })
    }
}

fn key(container_id: &str, ifname: &str) -> Result<AttachmentKey, String> {
    let ifname = IfName::new(ifname).map_err(|e| e.to_string())?;
    Ok(AttachmentKey { container_id: container_id.into(), ifname })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::attachment;

    #[test]
    fn what_is_written_is_read_back() {
        let mut full = attachment("a", "10.244.1.2");
        full.pod = Some(PodRef { namespace: "n".into(), name: "p".into(), uid: String::new() });
        full.port_mappings = vec![PortMapping {
            host_port: 80,
            container_port: 8080,
            protocol: model::Protocol::Udp,
            host_ip: Some("192.0.2.1".parse().unwrap()),
        }];
        full.search = SearchList::new(&["n.svc.cluster.local", "."], &["ndots:3"]).map(Arc::new);
        assert!(full.search.is_some());
        let key = full.key.clone();
        let entries = vec![
            Entry::Lease(Arc::new(full)),
            Entry::Release { key, at: 7 },
            Entry::Resting { addr: "fd00::2".parse().unwrap(), at: 9 },
        ];
        let line = encode(&entries);
        assert_eq!(decode(&line[..line.len() - 1]).unwrap(), entries);
        assert_eq!(version(&header()[..header().len() - 1]), Some(VERSION));
    }

    #[test]
    fn a_lease_of_a_release_that_knew_of_no_search_list_has_none() {
        let old = r#"[{"lease":{"id":"a","ifname":"eth0","network":"n","netns":"/n","addrs":["10.0.0.1"],"mac":"02:00:00:00:00:01"}}]"#;
        let line = sealed(old.as_bytes());
        let [Entry::Lease(lease)] = &decode(&line[..line.len() - 1]).unwrap()[..] else {
            panic!("no lease");
        };
        assert_eq!((lease.search.as_ref(), lease.port_mappings.len()), (None, 0));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed() {
        let line = encode(&[Entry::Resting { addr: "10.0.0.1".parse().unwrap(), at: 1 }]);
        let line = &line[..line.len() - 1];
        for position in 0..line.len() {
            let mut broken = line.to_vec();
            broken[position] ^= 1;
            assert!(decode(&broken).is_err(), "byte {position}");
        }
    }
}
