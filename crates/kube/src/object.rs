//! An object as the API server sent it, unread but for what watching needs.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_rs::Resource;
use kube_rs::api::{ApiResource, DynamicObject};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

/// The text of one object, with its name and version. Its other fields are read once, by whoever keeps
/// some of them: reading all, as a tree, would take several times the text, for thousands of objects
/// at once when they are listed.
#[derive(Clone)]
pub(crate) struct Unread {
    /// `namespace`, `name` and `resourceVersion` alone.
    meta: ObjectMeta,
    text: Box<RawValue>,
}

impl Unread {
    /// The whole object.
    pub(crate) fn json(&self) -> &[u8] {
        self.text.get().as_bytes()
    }

    /// `metadata.namespace`, empty for what has none, and `metadata.name`.
    pub(crate) fn name(&self) -> (&str, &str) {
        let ObjectMeta { namespace, name, .. } = &self.meta;
        (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    /// Its `resourceVersion`; 0 where that is no number.
    pub(crate) fn revision(&self) -> u64 {
        self.meta.resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_newtype_struct(RAW, Text)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        let owned = |field: Option<Cow<'_, str>>| field.map(Cow::into_owned);
        let meta = ObjectMeta {
            namespace: owned(metadata.namespace),
            name: owned(metadata.name),
            resource_version: owned(metadata.resource_version),
            ..ObjectMeta::default()
        };
        Ok(Unread { meta, text })
    }
}

/// By this name a [`RawValue`] asks serde_json for the text itself. Should it have another one some day, the text is
/// made from a tree.
const RAW: &str = "$serde_json::private::RawValue";

/// The text of a value.
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Box<RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, text: M) -> Result<Box<RawValue>, M::Error> {
        Box::deserialize(MapAccessDeserializer::new(text))
    }

    /// There is no text any more where an event says only behind its object of what type it is.
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        read: D,
    ) -> Result<Box<RawValue>, D::Error> {
        to_raw_value(&Value::deserialize(read)?).map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    metadata: HeadMeta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMeta<'a> {
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unread").field(&self.name()).finish()
    }
}

/// Its kind is known only as it is in the API, like that of a [`DynamicObject`].
impl Resource for Unread {
    type DynamicType = ApiResource;
    type Scope = <DynamicObject as Resource>::Scope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(of)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(of)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(of)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube_rs::api::{ObjectList, WatchEvent};

    use super::*;

    #[test]
    fn an_object_of_a_list_or_an_event_is_its_own_text() {
        let object = r#"{"metadata":{"namespace":"a","name":"b","resourceVersion":"7","labels":{"x":"\u0079"}},"spec":[1, 2]}"#;
        let list = format!(
            r#"{{"kind":"List","apiVersion":"v1","metadata":{{}},"items":[{object},{{}}]}}"#
        );
        let list: ObjectList<Unread> = serde_json::from_str(&list).unwrap();
        assert_eq!(list.items[0].json(), object.as_bytes());
        assert_eq!((list.items[0].name(), list.items[0].revision()), (("a", "b"), 7));
        assert_eq!((list.items[1].name(), list.items[1].revision()), (("", ""), 0));
        let event = format!(r#"{{"type":"MODIFIED","object":{object}}}"#);
        let event: WatchEvent<Unread> = serde_json::from_str(&event).unwrap();
        assert!(
            matches!(event, WatchEvent::Modified(unread) if unread.json() == object.as_bytes())
        );
        let event = format!(r#"{{"object":{object},"type":"MODIFIED"}}"#);
        let event: WatchEvent<Unread> = serde_json::from_str(&event).unwrap();
        let WatchEvent::Modified(unread) = event else { panic!("{event:?}") };
        assert_eq!((unread.name(), unread.revision()), (("a", "b"), 7));
        let said = |json: &[u8]| -> Value { serde_json::from_slice(json).unwrap() };
        assert_eq!(said(unread.json()), said(object.as_bytes()));
        let error = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#;
        let error: WatchEvent<Unread> = serde_json::from_str(error).unwrap();
        assert!(matches!(error, WatchEvent::Error(status) if status.code == 410));
    }
}
