//! From groups of endpoints to slices, with as few writes as will do: an endpoint stays in the slice
//! where it is, and a slice whose endpoints are as they were is left alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::{Group, MANAGED_BY, Maker, SERVICE};
use crate::plane::pods;
use crate::plane::runtime::{Action, Write};

/// Most endpoints of a slice (`--max-endpoints-per-slice`).
pub(super) const MOST: usize = 100;
/// The label of slices whose Service has no address.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// The annotation that tells when what a slice shows began to be so.
const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What brings `own`, the slices that `maker` keeps for `service`, to `groups`.
pub(super) fn writes(
    service: &Service,
    maker: &Maker,
    groups: Vec<Group>,
    own: Vec<EndpointSlice>,
    now: Timestamp,
) -> Vec<Write> {
    let mut left = own;
    let mut writes = Vec::new();
    for group in groups {
        let is_of = |slice: &EndpointSlice| {
            let no_ports = group.endpoints.is_empty() && slice.endpoints.is_empty();
            let ports = slice.ports.as_deref().unwrap_or_default();
            slice.address_type == group.family && (no_ports || ports == group.ports)
        };
        let (mine, others) = left.into_iter().partition(is_of);
        left = others;
        writes.extend(fill(service, maker, group, mine, now));
    }
    // Ports nobody has any more, a family that is gone.
    writes.extend(left.into_iter().map(remove));
    writes
}

/// Spreads one group over its slices.
fn fill(
    service: &Service,
    maker: &Maker,
    mut group: Group,
    mine: Vec<EndpointSlice>,
    now: Timestamp,
) -> Vec<Write> {
    let mut slices: Vec<Draft> = mine.into_iter().map(|old| Draft::of(old, &mut group)).collect();
    let mut new = group.endpoints.into_values();
    // Those that are written anyway first, then the fullest.
    slices.sort_by_key(|draft| (!draft.is_changed(), usize::MAX - draft.slice.endpoints.len()));
    for draft in &mut slices {
        let room = MOST.saturating_sub(draft.slice.endpoints.len());
        draft.slice.endpoints.extend(new.by_ref().take(room));
    }
    let mut rest: Vec<_> = new.collect();
    while !rest.is_empty() {
        let tail = rest.split_off(rest.len().min(MOST));
        let slice = EndpointSlice {
            address_type: group.family.to_owned(),
            endpoints: std::mem::replace(&mut rest, tail),
            ports: Some(group.ports.clone()),
            metadata: ObjectMeta::default(),
        };
        slices.push(Draft { old: None, slice });
    }
    if slices.is_empty() {
        let slice = EndpointSlice {
            address_type: group.family.to_owned(),
            ports: Some(group.ports.clone()),
            ..EndpointSlice::default()
        };
        slices.push(Draft { old: None, slice });
    }
    // Of empty slices one is enough, and none where there are others.
    let mut is_shown = slices.iter().any(|draft| !draft.slice.endpoints.is_empty());
    let mut writes = Vec::new();
    for draft in slices {
        let is_needed =
            !draft.slice.endpoints.is_empty() || !std::mem::replace(&mut is_shown, true);
        match draft.old {
            Some(old) if !is_needed => writes.push(remove(old)),
            None if !is_needed => {}
            old => writes.extend(write(service, maker, old, draft.slice, now)),
        }
    }
    writes
}

/// A slice as it is, and as it is to be.
struct Draft {
    old: Option<EndpointSlice>,
    slice: EndpointSlice,
}

impl Draft {
    /// Takes from `group` what `old` holds, and leaves out what the group has not.
    fn of(old: EndpointSlice, group: &mut Group) -> Self {
        let address = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint.addresses.first().cloned().unwrap_or_default()
        };
        let stay = old.endpoints.iter().filter_map(|e| group.endpoints.remove(&address(e)));
        let slice = EndpointSlice {
            endpoints: stay.collect(),
            ports: Some(group.ports.clone()),
            ..old.clone()
        };
        Draft { old: Some(old), slice }
    }

    fn is_changed(&self) -> bool {
        self.old.as_ref().is_none_or(|old| old.endpoints != self.slice.endpoints)
    }
}

fn write(
    service: &Service,
    maker: &Maker,
    old: Option<EndpointSlice>,
    mut slice: EndpointSlice,
    now: Timestamp,
) -> Option<Write> {
    let meta = &mut slice.metadata;
    meta.labels = Some(labels(service, maker));
    let same = old.as_ref().is_some_and(|old| {
        old.metadata.labels == meta.labels
            && old.endpoints == slice.endpoints
            && old.ports.as_deref().unwrap_or_default()
                == slice.ports.as_deref().unwrap_or_default()
    });
    if same {
        return None;
    }
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(TRIGGERED.to_owned(), now.to_string());
    if old.is_some() {
        return Some(Write::new(Action::Replace, slice));
    }
    meta.namespace.clone_from(&service.metadata.namespace);
    meta.generate_name = Some(format!("{}-", service.metadata.name.as_deref().unwrap_or_default()));
    meta.owner_references = Some(vec![pods::controlled_by(service)]);
    Some(Write::new(Action::Create, slice))
}

fn remove(slice: EndpointSlice) -> Write {
    Write::new(Action::Delete { grace: None }, slice)
}

/// The Service's labels, and those that say whose the slice is.
fn labels(service: &Service, maker: &Maker) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    maker.reserved.iter().for_each(|name| drop(labels.remove(*name)));
    labels.insert(SERVICE.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.to_owned(), maker.name.to_owned());
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    if address == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}
