//! `networking.k8s.io/v1/ServiceCIDR`.

use serde::Deserialize;

use super::{DecodeError, Meta, Object, net, read};
use crate::ServiceCidr;

#[derive(Deserialize)]
struct WireCidr {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    cidrs: Option<Vec<String>>,
}

/// Reads a ServiceCIDR from its JSON.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a ServiceCIDR or a CIDR does not parse.
///
/// Source: ServiceCIDR API (KEP-1880).
pub fn service_cidr(json: &[u8]) -> Result<ServiceCidr, DecodeError> {
    let wire: WireCidr = read("ServiceCIDR", json)?;
    let object = Object { kind: "ServiceCIDR", name: wire.metadata.full_name() };
    let cidrs = wire.spec.cidrs.iter().flatten().enumerate();
    let cidrs = cidrs.map(|(i, text)| net(&object, &format!("spec.cidrs[{i}]"), text));
    Ok(ServiceCidr {
        name: wire.metadata.name.as_str().into(),
        cidrs: cidrs.collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_a_wrong_one_is_named() {
        let read = |cidrs: &str| {
            service_cidr(
                format!(r#"{{"metadata":{{"name":"more"}},"spec":{{"cidrs":{cidrs}}}}}"#)
                    .as_bytes(),
            )
        };
        let got = read(r#"["10.96.0.0/16","fd00:96::/112"]"#).unwrap();
        assert_eq!((&*got.name, got.cidrs.len()), ("more", 2));
        let error = read(r#"["10.96.0.0/16","10.96"]"#).unwrap_err();
        assert_eq!(error.to_string(), "ServiceCIDR more: spec.cidrs[1]: \"10.96\" is not a CIDR");
    }
}
