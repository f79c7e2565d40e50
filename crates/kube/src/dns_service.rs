//! The Service that clients of the cluster's DNS ask, made where nobody else has made one, and its endpoints.
//!
//! Source: kubeadm's manifest of CoreDNS, for its labels, which `kubectl cluster-info` looks for; EndpointSlice
//! API, label `endpointslice.kubernetes.io/managed-by`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice as Object;
use kube_rs::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube_rs::{Api, Client, Error};
use model::{Conditions, DNS_PORT, EndpointSlice, MadeService, ServiceName, SliceKey, encode};
use serde_json::json;

/// Selector of the Services that Seaway has made.
pub(crate) const MADE: &str = "app.kubernetes.io/managed-by=seaway";

/// Whether an object with these labels is one that Seaway has made.
pub(crate) fn is_made(labels: &BTreeMap<String, String>) -> bool {
    MADE.split_once('=')
        .is_some_and(|(label, value)| labels.get(label).is_some_and(|it| it == value))
}

/// Who has written the slices.
const MANAGER: &str = "seaway-dns";

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
                "app.kubernetes.io/managed-by": "seaway",
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

/// A slice of the Service could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{attempt} EndpointSlice {}/{}", slice.service.namespace, slice.slice)]
pub struct SliceError {
    /// What was to be done.
    pub attempt: &'static str,
    /// Which slice.
    pub slice: SliceKey,
    /// What the API server said, or that it could not be asked.
    #[source]
    pub cause: Box<Error>,
}

/// Writes a slice of `service`, which goes with it. Whatever else has been written to it stays.
///
/// # Errors
/// [`SliceError`]; writing it again is all a caller can do.
pub async fn put_slice(
    client: &Client,
    service: &MadeService,
    slice: &EndpointSlice,
) -> Result<(), SliceError> {
    let mut object = encode::endpoint_slice(slice);
    object["apiVersion"] = "discovery.k8s.io/v1".into();
    object["kind"] = "EndpointSlice".into();
    for (written, endpoint) in
        object["endpoints"].as_array_mut().into_iter().flatten().zip(&slice.endpoints)
    {
        let Conditions { ready, serving, terminating } = endpoint.conditions;
        // Said in full: clients differ about what is left out.
        written["conditions"] =
            json!({ "ready": ready, "serving": serving, "terminating": terminating });
        if let Some(node) = &endpoint.node {
            written["targetRef"] = json!({ "kind": "Node", "name": node.as_str() });
        }
    }
    let metadata = &mut object["metadata"];
    metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = "seaway".into();
    metadata["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Service", "name": &*service.name.name, "uid": &*service.uid,
        "controller": true,
    }]);
    let api = Api::<Object>::namespaced(client.clone(), &service.name.namespace);
    let params = PatchParams::apply(MANAGER).force();
    let put = api.patch(&slice.key.slice, &params, &Patch::Apply(object)).await;
    put.map(drop).map_err(|cause| SliceError {
        attempt: "write",
        slice: slice.key.clone(),
        cause: Box::new(cause),
    })
}

/// Deletes a slice, which may be gone already.
///
/// # Errors
/// [`SliceError`].
pub async fn delete_slice(client: &Client, slice: &SliceKey) -> Result<(), SliceError> {
    let api = Api::<Object>::namespaced(client.clone(), &slice.service.namespace);
    match api.delete(&slice.slice, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(cause) => {
            let (attempt, slice) = ("delete", slice.clone());
            Err(SliceError { attempt, slice, cause: Box::new(cause) })
        }
    }
}
