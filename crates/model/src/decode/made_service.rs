//! `v1/Service`, where Seaway has made it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::{DecodeError, Meta, read};
use crate::{Family, MadeService, ServiceName};

#[derive(Deserialize)]
struct WireService {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    selector: Option<BTreeMap<String, String>>,
}

/// Reads a Service from its JSON.
///
/// # Errors
/// [`DecodeError`] when the JSON is no Service.
///
/// Source: Service API, `spec.selector`.
pub fn made_service(json: &[u8]) -> Result<MadeService, DecodeError> {
    let WireService { metadata, spec } = read("Service", json)?;
    let ips = spec.cluster_ips.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    Ok(MadeService {
        name: ServiceName::new(&metadata.namespace, &metadata.name),
        uid: metadata.uid.as_str().into(),
        has_selector: spec.selector.is_some_and(|selector| !selector.is_empty()),
        is_leaving: metadata.deletion_timestamp.is_some(),
        families: ips.map(Family::of).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_service_says_who_its_endpoints_are_or_leaves_it_to_others() {
        let read = |spec: &str| {
            let json = format!(
                r#"{{"metadata":{{"namespace":"kube-system","name":"kube-dns","uid":"u"}},"spec":{{{spec}}}}}"#
            );
            let made = made_service(json.as_bytes()).unwrap();
            (made.has_selector, made.families.len())
        };
        assert_eq!(read(r#""clusterIPs":["10.96.0.10","fd00::a"]"#), (false, 2));
        assert_eq!(read(r#""clusterIPs":["10.96.0.10"],"selector":null"#), (false, 1));
        assert_eq!(read(r#""clusterIPs":["None"],"selector":{}"#), (false, 0));
        assert_eq!(read(r#""selector":{"k8s-app":"kube-dns"}"#), (true, 0));
    }
}
