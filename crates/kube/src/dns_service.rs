//! The Service that clients of the cluster's DNS ask, made where nobody else has made one.
//!
//! Source: kubeadm's manifest of CoreDNS, for its labels, which `kubectl cluster-info` looks for.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use kube_rs::api::PostParams;
use kube_rs::{Api, Client, Error};
use model::{DNS_PORT, ServiceName};
use serde_json::json;

/// The Service could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make the Service {name} for DNS")]
pub struct DnsServiceError {
    /// Its name.
    pub name: ServiceName,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Makes the Service `name` with these cluster IPs, without a selector, whose endpoints answer at `target`. One
/// that is there is left as it is.
///
/// # Errors
/// [`DnsServiceError`].
pub async fn make_dns_service(
    client: &Client,
    name: &ServiceName,
    addrs: &[IpAddr],
    target: u16,
) -> Result<(), DnsServiceError> {
    let fail = |cause| DnsServiceError { name: name.clone(), cause: Box::new(cause) };
    let port = |name, protocol| json!({ "name": name, "port": DNS_PORT, "protocol": protocol, "targetPort": target });
    let object = json!({
        "metadata": {
            "namespace": &*name.namespace, "name": &*name.name,
            "labels": {
                "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS",
                "kubernetes.io/cluster-service": "true",
            },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": addrs.first(), "clusterIPs": addrs,
            "ipFamilyPolicy": if addrs.len() > 1 { "PreferDualStack" } else { "SingleStack" },
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    });
    let object: Service =
        serde_json::from_value(object).map_err(|error| fail(Error::SerdeError(error)))?;
    let api = Api::<Service>::namespaced(client.clone(), &name.namespace);
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(fail(error)),
    }
}
