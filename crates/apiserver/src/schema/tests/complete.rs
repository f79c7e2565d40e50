//! The schema knows every field of the types that clients written in Rust use.
//!
//! `k8s-openapi` is generated from Kubernetes' own description, so it is the judge: a
//! deserializer that never runs out of input fills every field of a type at any depth, and
//! decoding must keep all of what comes out.
use k8s_openapi::Resource as Kind;
use k8s_openapi::api::*;
use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};

use crate::resource::{Registry, Rules};
use crate::schema;

/// Offers every field of a struct, one item of a list and one entry of a map.
#[derive(Clone, Copy)]
enum Filler {
    /// Text that is base64 too.
    Plain,
    /// A point in time.
    Time,
    /// An amount of a resource.
    Quantity,
    /// Any JSON.
    Json,
}

impl<'de> Deserializer<'de> for Filler {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Plain => visitor.visit_str("eA=="),
            Self::Time => visitor.visit_str("2026-01-02T03:04:05.123456Z"),
            Self::Quantity => visitor.visit_str("1500m"),
            Self::Json => visitor.visit_map(Fields(&["any"], false)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(true)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i32(7)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(1 << 40)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(0.5)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(One(false))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Fields(&["key"], false))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // Kinds write their own apiVersion and kind, whatever they read.
        let is_kind = fields.starts_with(&["apiVersion", "kind"]) && fields.contains(&"metadata");
        visitor.visit_map(Fields(if is_kind { &fields[2..] } else { fields }, false))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(match name {
            "Time" | "MicroTime" => Self::Time,
            "Quantity" => Self::Quantity,
            "RawExtension" | "FieldsV1" => Self::Json,
            _ => Self::Plain,
        })
    }

    serde::forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct enum identifier ignored_any
    }
}

/// A list of one; whether it has been given.
struct One(bool);

impl<'de> SeqAccess<'de> for One {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let given = std::mem::replace(&mut self.0, true);
        if given { Ok(None) } else { seed.deserialize(Filler::Plain).map(Some) }
    }
}

/// The fields still to be given; whether the key of the first has been.
struct Fields(&'static [&'static str], bool);

impl<'de> MapAccess<'de> for Fields {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.1 {
            self.0 = &self.0[1..];
        }
        self.1 = true;
        let Some(name) = self.0.first() else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Filler::Plain)
    }
}

/// Decodes an object of kind `K` that has every field, and compares.
fn keeps<K: Kind + DeserializeOwned + serde::Serialize>(claims: &mut Vec<String>) {
    let whole = K::deserialize(Filler::Plain).unwrap();
    let whole = serde_json::to_value(whole).unwrap();
    let registry = Registry::builtin();
    let found = registry.iter().find(|r| {
        (r.group.as_str(), r.version.as_str(), r.kind.as_str()) == (K::GROUP, K::VERSION, K::KIND)
    });
    let of = match found {
        Some(resource) => schema::of(resource),
        // What subresources take.
        None => schema::catalog().structs.get(&schema::full_name(K::GROUP, K::VERSION, K::KIND)),
    };
    assert!(of.is_some(), "{} is not described", K::KIND);
    let mut decoded = whole.clone();
    match schema::check::check(of, &mut decoded) {
        Ok(unknown) => claims.extend(unknown.iter().map(|field| format!("{}.{field}", K::KIND))),
        Err(error) => claims.push(format!("{}: {error}", K::KIND)),
    }
    if claims.is_empty() {
        assert_eq!(decoded, whole);
    }
}

/// Calls [`keeps`] with each kind and returns how many there were.
macro_rules! all_keep {
    ($claims:ident: $($kind:ty),* $(,)?) => {
        [$({ keeps::<$kind>(&mut $claims); <$kind>::KIND }),*].len()
    };
}

#[test]
fn the_judge_reaches_the_last_field() {
    let pod = core::v1::Pod::deserialize(Filler::Plain).unwrap();
    let pod = serde_json::to_value(pod).unwrap();
    let place = "/spec/ephemeralContainers/0/lifecycle/preStop/httpGet/httpHeaders/0/value";
    assert_eq!(pod.pointer(place).and_then(serde_json::Value::as_str), Some("eA=="));
}

#[test]
fn every_field_of_every_kind_survives_decoding() {
    let mut claims: Vec<String> = Vec::new();
    let core = all_keep!(claims:
        core::v1::Namespace, core::v1::Node, core::v1::Pod, core::v1::PodTemplate,
        core::v1::ReplicationController, core::v1::ServiceAccount, core::v1::ConfigMap,
        core::v1::Secret, core::v1::Event, core::v1::Service, core::v1::Endpoints,
        core::v1::LimitRange, core::v1::ResourceQuota, core::v1::PersistentVolume,
        core::v1::PersistentVolumeClaim,
    );
    let groups = all_keep!(claims:
        apps::v1::Deployment, apps::v1::ReplicaSet, apps::v1::StatefulSet, apps::v1::DaemonSet,
        apps::v1::ControllerRevision, batch::v1::Job, batch::v1::CronJob,
        policy::v1::PodDisruptionBudget, autoscaling::v2::HorizontalPodAutoscaler,
        discovery::v1::EndpointSlice, networking::v1::NetworkPolicy, networking::v1::Ingress,
        networking::v1::IngressClass, networking::v1::ServiceCIDR, networking::v1::IPAddress,
        coordination::v1::Lease, events::v1::Event, scheduling::v1::PriorityClass,
        storage::v1::StorageClass, node::v1::RuntimeClass,
        admissionregistration::v1::ValidatingWebhookConfiguration,
        admissionregistration::v1::MutatingWebhookConfiguration,
        admissionregistration::v1::ValidatingAdmissionPolicy,
        admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        rbac::v1::Role, rbac::v1::ClusterRole, rbac::v1::RoleBinding, rbac::v1::ClusterRoleBinding,
        authentication::v1::TokenReview, authentication::v1::SelfSubjectReview,
        authorization::v1::SubjectAccessReview, authorization::v1::SelfSubjectAccessReview,
        authorization::v1::SelfSubjectRulesReview, authorization::v1::LocalSubjectAccessReview,
    );
    let taken = all_keep!(claims:
        core::v1::Binding, policy::v1::Eviction, autoscaling::v1::Scale,
        authentication::v1::TokenRequest,
    );
    assert_eq!(claims, Vec::<String>::new());
    // A definition's schema holds schemas: what never runs out of input would never end.
    let finite = Registry::builtin().iter().filter(|kind| kind.rules != Rules::Definition).count();
    assert_eq!(core + groups, finite, "a kind is not looked at");
    assert_eq!(taken, 4);
}
