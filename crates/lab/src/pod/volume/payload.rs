//! What a volume's files are, worked out from the objects they show.
//!
//! Source: kubelet `volume/{configmap,secret,downwardapi,projected}`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccountTokenProjection,
    Volume, VolumeProjection,
};

use super::atomic::{Entry, Payload};
use crate::pod::fields;

/// Permissions of files when the manifest does not say.
const MODE: i32 = 0o644;

/// What the sources of one volume are, and the permissions they have by default.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// One after the other; a later file takes the place of an earlier one.
    pub list: Vec<Source>,
    mode: i32,
}

/// Something that a volume can show.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The entries of a ConfigMap or Secret.
    Object {
        /// What it is.
        kind: Kind,
        /// Its name.
        name: String,
        /// Which of its entries, and where; all of them when `None`.
        items: Option<Vec<KeyToPath>>,
        /// Whether it need not be there.
        optional: bool,
    },
    /// Fields of the pod itself.
    Pod(Vec<DownwardAPIVolumeFile>),
    /// A token of its service account.
    Token(ServiceAccountTokenProjection),
    /// One that the lab does not have.
    Unknown,
}

/// An object with entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl Sources {
    /// The sources of `volume`, if it is one that shows objects.
    pub(super) fn of(volume: &Volume) -> Option<Self> {
        let object = |kind, name: &str, items: &Option<Vec<_>>, optional: Option<bool>| {
            let (name, items) = (name.to_owned(), items.clone());
            Source::Object { kind, name, items, optional: optional == Some(true) }
        };
        if let Some(it) = &volume.config_map {
            let source = object(Kind::ConfigMap, &it.name, &it.items, it.optional);
            return Some(Self::one(source, it.default_mode));
        }
        if let Some(it) = &volume.secret {
            let name = it.secret_name.as_deref().unwrap_or_default();
            return Some(Self::one(
                object(Kind::Secret, name, &it.items, it.optional),
                it.default_mode,
            ));
        }
        if let Some(it) = &volume.downward_api {
            let source = Source::Pod(it.items.clone().unwrap_or_default());
            return Some(Self::one(source, it.default_mode));
        }
        let projected = volume.projected.as_ref()?;
        let source = |it: &VolumeProjection| {
            if let Some(map) = &it.config_map {
                object(Kind::ConfigMap, &map.name, &map.items, map.optional)
            } else if let Some(secret) = &it.secret {
                object(Kind::Secret, &secret.name, &secret.items, secret.optional)
            } else if let Some(fields) = &it.downward_api {
                Source::Pod(fields.items.clone().unwrap_or_default())
            } else if let Some(token) = &it.service_account_token {
                Source::Token(token.clone())
            } else {
                Source::Unknown
            }
        };
        let list = projected.sources.iter().flatten().map(source).collect();
        Some(Self { list, mode: projected.default_mode.unwrap_or(MODE) })
    }

    fn one(source: Source, mode: Option<i32>) -> Self {
        Self { list: vec![source], mode: mode.unwrap_or(MODE) }
    }

    /// The permissions of a file that says `own`.
    pub(super) fn mode(&self, own: Option<i32>) -> u32 {
        u32::try_from(own.unwrap_or(self.mode)).unwrap_or(0o644) & 0o777
    }

    /// Adds the entries of an object, if it is there.
    ///
    /// # Errors
    /// What is not there and has to be.
    pub(super) fn add_object(
        &self,
        payload: &mut Payload,
        source: (Kind, &str, Option<&[KeyToPath]>, bool),
        found: Option<BTreeMap<String, Vec<u8>>>,
    ) -> Result<(), String> {
        let (kind, name, items, optional) = source;
        let entries = match found {
            Some(entries) => entries,
            None if optional => return Ok(()),
            None => return Err(format!("{} {name:?} not found", kind.name())),
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for (key, bytes) in entries {
                payload.insert(key, Entry { bytes, mode: self.mode(None), user: None });
            }
            return Ok(());
        };
        for item in items {
            match entries.get(&item.key) {
                Some(bytes) => {
                    let mode = self.mode(item.mode);
                    payload.insert(
                        item.path.clone(),
                        Entry { bytes: bytes.clone(), mode, user: None },
                    );
                }
                None if optional => {}
                None => return Err(kind.lacks(&item.key)),
            }
        }
        Ok(())
    }

    /// Adds fields of the pod itself.
    ///
    /// # Errors
    /// A field that there isn't.
    pub(super) fn add_fields(
        &self,
        payload: &mut Payload,
        files: &[DownwardAPIVolumeFile],
        pod: &Pod,
    ) -> Result<(), String> {
        for file in files {
            let text = if let Some(field) = &file.field_ref {
                fields::of_pod(&field.field_path, pod)
                    .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?
            } else if let Some(resource) = &file.resource_field_ref {
                fields::resource(resource, pod, None)?
            } else {
                return Err(format!("{}: neither fieldRef nor resourceFieldRef", file.path));
            };
            let entry = Entry { bytes: text.into_bytes(), mode: self.mode(file.mode), user: None };
            payload.insert(file.path.clone(), entry);
        }
        Ok(())
    }
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    fn lacks(self, key: &str) -> String {
        match self {
            Self::ConfigMap => format!("configmap references non-existent config key: {key}"),
            Self::Secret => format!("references non-existent secret key: {key}"),
        }
    }
}

/// The entries of a ConfigMap, those of `binaryData` among them.
pub(super) fn of_config_map(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.unwrap_or_default().into_iter();
    let text = text.map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter();
    text.chain(binary.map(|(key, ByteString(bytes))| (key, bytes))).collect()
}

/// The entries of a Secret.
pub(super) fn of_secret(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.unwrap_or_default().into_iter();
    data.map(|(key, ByteString(bytes))| (key, bytes)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn files(volume: Value, found: Option<&[(&str, &str)]>) -> Result<String, String> {
        let volume: Volume = serde_json::from_value(volume).unwrap();
        let pod = json!({"metadata": {"name": "web", "labels": {"b": "2", "a": "1"}}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let sources = Sources::of(&volume).unwrap();
        let mut payload = Payload::new();
        for source in &sources.list {
            match source {
                Source::Object { kind, name, items, optional } => {
                    let found = found.map(|entries| {
                        let entry = |(key, text): &(&str, &str)| {
                            ((*key).to_owned(), text.as_bytes().to_vec())
                        };
                        entries.iter().map(entry).collect()
                    });
                    let source = (*kind, name.as_str(), items.as_deref(), *optional);
                    sources.add_object(&mut payload, source, found)?;
                }
                Source::Pod(fields) => sources.add_fields(&mut payload, fields, &pod)?,
                Source::Token(_) | Source::Unknown => {}
            }
        }
        let show = |(path, entry): (&String, &Entry)| {
            format!("{path} {:o} {}", entry.mode, String::from_utf8_lossy(&entry.bytes))
        };
        Ok(payload.iter().map(show).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn the_manifest_decides_which_files_a_volume_has() {
        let entries: &[(&str, &str)] = &[("k", "v"), ("l", "w")];
        let map = |more: Value| {
            let mut map = json!({"name": "m"});
            map.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"name": "v", "configMap": map})
        };
        let item = json!({"items": [{"key": "k", "path": "a/b", "mode": 0o400}]});
        let cases = [
            (map(json!({})), Some(entries), Ok("k 644 v; l 644 w")),
            (map(json!({"defaultMode": 0o600})), Some(entries), Ok("k 600 v; l 600 w")),
            (map(item.clone()), Some(entries), Ok("a/b 400 v")),
            (map(item), Some(&[]), Err("configmap references non-existent config key: k")),
            (map(json!({})), None, Err("configmap \"m\" not found")),
            (map(json!({"optional": true})), None, Ok("")),
            (
                json!({"name": "v", "secret": {"secretName": "s"}}),
                None,
                Err("secret \"s\" not found"),
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}}),
                Some(entries),
                Err("references non-existent secret key: z"),
            ),
            (
                json!({"name": "v", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "name", "mode": 0o444, "fieldRef": {"fieldPath": "metadata.name"}}]}}),
                None,
                Ok("labels 644 a=\"1\"\nb=\"2\"; name 444 web"),
            ),
            (
                json!({"name": "v", "projected": {"defaultMode": 0o440, "sources": [
                    {"configMap": {"name": "m", "items": [{"key": "k", "path": "k"}]}},
                    {"downwardAPI": {"items": [
                        {"path": "k", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}),
                Some(entries),
                Ok("k 440 web"),
            ),
        ];
        for (volume, found, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(files(volume.clone(), found), expected, "{volume}");
        }
    }
}
