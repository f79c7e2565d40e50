//! Kubernetes' wire shapes → model. Private serde structs of just the fields Seaway reads; with
//! [`encode`](crate::encode) the only place where those shapes appear.
//!
//! Decoding is lenient where Kubernetes is (unknown fields are skipped) and strict where a wrong
//! value would mislead: the error names the object and the field, and the object alone is left out.

mod cluster_policy;
mod made_service;
mod namespace;
mod network_policy;
mod node;
mod node_state;
mod node_told;
mod node_wire;
mod pod;
mod policy_state;
mod rule;
mod selector;
mod service;
mod service_cidr;
mod slice;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{AUDIT, Audit, Edition, Labels, ObjectName, Protocol};

pub use cluster_policy::{admin_policy, baseline_policy, cluster_policy};
pub use made_service::made_service;
pub use namespace::namespace;
pub use network_policy::network_policy;
pub use node::node;
pub use node_state::node_state;
pub use node_told::node_told;
pub use pod::pod;
pub use policy_state::policy_state;
pub use service::service;
pub use service_cidr::service_cidr;
pub use slice::endpoint_slice;

pub(crate) use namespace::TERMINATING;
pub(crate) use node::{TO_BE_DELETED, ZONE};
pub(crate) use service::PROXY_NAME;
pub(crate) use slice::{HEADLESS, SERVICE_NAME, TRIGGERED};

/// Why an object could not be taken into the World.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {field}: {reason}")]
pub struct DecodeError {
    /// Kind and name, like `Node worker-1`.
    pub object: String,
    /// Path of the field, like `spec.podCIDRs[1]`; empty when the whole object is unreadable.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl DecodeError {
    /// Whether there is something that this program has never heard of, and perhaps nothing wrong: a field
    /// of a later API.
    pub fn is_unheard_of(&self) -> bool {
        // Both ours and serde's own.
        self.reason.starts_with("unknown field ")
    }
}

/// What every object says of itself. What is null is as if it were not there.
#[derive(Deserialize)]
struct Meta {
    #[serde(default, deserialize_with = "or_default")]
    namespace: String,
    name: String,
    #[serde(default, deserialize_with = "or_default")]
    uid: String,
    #[serde(default, deserialize_with = "or_default")]
    generation: i64,
    #[serde(default, deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    #[serde(rename = "creationTimestamp")]
    creation_timestamp: Option<String>,
    #[serde(rename = "deletionTimestamp")]
    deletion_timestamp: Option<String>,
}

impl Meta {
    /// `NAMESPACE/NAME`, or the name alone.
    fn full_name(&self) -> String {
        match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        }
    }
}

impl Meta {
    /// Namespace and name of an object that has both.
    fn object_name(&self) -> ObjectName {
        ObjectName::new(&self.namespace, &self.name)
    }

    /// What it asks for, and which one it is.
    fn edition(&self) -> Edition {
        Edition { uid: self.uid.as_str().into(), generation: self.generation }
    }

    /// Whether it is audited, if it is a policy.
    fn audit(&self) -> Audit {
        Audit::of(self.annotations.get(AUDIT).map(String::as_str))
    }

    /// Its labels, which it gives away.
    fn take_labels(&mut self) -> Labels {
        std::mem::take(&mut self.labels).into_iter().collect()
    }
}

/// Its default where it is null.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The object that is being read, for errors.
struct Object {
    kind: &'static str,
    name: String,
}

impl Object {
    /// Reads a part of it.
    fn part<T: DeserializeOwned>(&self, field: &str, part: Value) -> Result<T, DecodeError> {
        serde_json::from_value(part).map_err(|error| self.fail(field, error.to_string()))
    }

    fn fail(&self, field: &str, reason: String) -> DecodeError {
        let Object { kind, name } = self;
        DecodeError { object: format!("{kind} {name}"), field: field.to_owned(), reason }
    }

    /// A port's number.
    fn port(&self, field: &str, number: i64) -> Result<u16, DecodeError> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        port.ok_or_else(|| self.fail(field, format!("{number} is not between 1 and 65535")))
    }

    /// A port's number, where 0 stands for none.
    fn optional_port(&self, field: &str, number: i64) -> Result<Option<u16>, DecodeError> {
        if number == 0 { Ok(None) } else { self.port(field, number).map(Some) }
    }

    /// A protocol, TCP when nothing is said.
    fn protocol(&self, field: &str, text: Option<&str>) -> Result<Protocol, DecodeError> {
        match text {
            None | Some("" | "TCP") => Ok(Protocol::Tcp),
            Some("UDP") => Ok(Protocol::Udp),
            Some("SCTP") => Ok(Protocol::Sctp),
            Some(other) => Err(self.fail(field, format!("{other:?} is none of TCP, UDP, SCTP"))),
        }
    }
}

/// Reads `json` as a `kind`. What is not one is still called by its name, if it has one.
fn read<T: DeserializeOwned>(kind: &str, json: &[u8]) -> Result<T, DecodeError> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Meta,
    }
    serde_json::from_slice(json).map_err(|error| {
        let named = serde_json::from_slice::<Named>(json);
        let name = named.map(|named| format!(" {}", named.metadata.full_name()));
        DecodeError {
            object: format!("{kind}{}", name.unwrap_or_default()),
            field: String::new(),
            reason: error.to_string(),
        }
    })
}

/// What is read one by one, in no more room than it takes: nobody adds anything to a list that was read, and
/// there are tens of thousands of them.
fn list<T>(each: impl Iterator<Item = Result<T, DecodeError>>) -> Result<Vec<T>, DecodeError> {
    let mut all = each.collect::<Result<Vec<T>, _>>()?;
    all.shrink_to_fit();
    Ok(all)
}

fn ip(object: &Object, field: &str, text: &str) -> Result<IpAddr, DecodeError> {
    text.parse().map_err(|_| object.fail(field, format!("{text:?} is not an IP address")))
}

/// A prefix; host bits are cut off.
fn net(object: &Object, field: &str, text: &str) -> Result<IpNet, DecodeError> {
    let net = text.parse::<IpNet>().map(|net| net.trunc());
    net.map_err(|_| object.fail(field, format!("{text:?} is not a CIDR")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_no_more_room_than_what_is_in_them() {
        fn is_full<T>(list: &Vec<T>) -> bool {
            list.len() == 1 && list.capacity() == 1
        }
        let pod = r#"{"metadata":{"name":"a"},"status":{"podIPs":[{"ip":"10.0.0.1"}]}}"#;
        assert!(is_full(&pod::pod(pod.as_bytes()).unwrap().addrs));
        let service =
            r#"{"metadata":{"name":"a"},"spec":{"clusterIPs":["10.0.0.1"],"ports":[{"port":80}]}}"#;
        let service = service::service(service.as_bytes()).unwrap();
        assert!(is_full(&service.cluster_ips) && is_full(&service.ports));
        let slice = r#"{"metadata":{"name":"a","labels":{"kubernetes.io/service-name":"a"}},"addressType":"IPv4",
            "ports":[{"name":"","port":80}],"endpoints":[{"addresses":["10.0.0.1"]}]}"#;
        let slice = slice::endpoint_slice(slice.as_bytes()).unwrap().unwrap();
        assert!(is_full(&slice.ports) && is_full(&slice.endpoints));
    }
}
