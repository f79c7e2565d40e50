//! Leases in which nodes tell what they do by now.

use serde::Deserialize;

use super::{DecodeError, Meta, read};
use crate::{NodeTold, REALISED};

#[derive(Deserialize)]
struct WireLease {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
}

/// Reads what a node tells of policies; `None` where it tells nothing. What can't be read stands for no policy at
/// all: a node that says something else than this program understands is not left out.
///
/// # Errors
/// [`DecodeError`] when the JSON is no object with a name.
pub fn node_told(json: &[u8]) -> Result<Option<NodeTold>, DecodeError> {
    let WireLease { metadata, spec } = read("Lease", json)?;
    let told = metadata.annotations.get(REALISED).zip(spec.holder_identity);
    Ok(told.map(|(text, node)| NodeTold {
        node: node.into(),
        realised: text.parse().unwrap_or_default(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Edition, Realised};

    #[test]
    fn npc12_a_node_that_tells_what_nobody_understands_is_not_left_out() {
        let edition = Edition { uid: "u".into(), generation: 1 };
        let known: Realised = [&edition].into_iter().collect();
        for (annotations, want) in [
            (format!(r#"{{"{REALISED}":"{known}"}}"#), Some(known)),
            (format!(r#"{{"{REALISED}":""}}"#), Some(Realised::default())),
            (format!(r#"{{"{REALISED}":"all"}}"#), Some(Realised::default())),
            (r#"{"seaway.io/drained":"7"}"#.to_owned(), None),
        ] {
            let json = format!(
                r#"{{"metadata":{{"name":"seaway-a","annotations":{annotations}}},"spec":{{"holderIdentity":"a"}}}}"#
            );
            let told = node_told(json.as_bytes()).unwrap();
            let want = want.map(|realised| NodeTold { node: "a".into(), realised });
            assert_eq!(told, want, "{json}");
        }
    }

    /// What nodes of a release tell (`compat/`).
    const RELEASES: [(&str, &str); 1] =
        [("0.1", include_str!("../../../../compat/0.1/lease.json"))];

    #[test]
    fn compat_what_nodes_of_all_releases_tell_of_policies_is_understood() {
        let editions = ["u-3", "u-4"].map(|uid| Edition { uid: uid.into(), generation: 1 });
        let realised: Realised = editions.iter().collect();
        for (release, lease) in RELEASES {
            let told = node_told(lease.as_bytes()).unwrap().unwrap();
            assert_eq!((&*told.node.0, &told.realised), ("node-1", &realised), "{release}");
            assert!(lease.contains(&format!("{:?}", realised.to_string())), "{release}: as now");
        }
    }
}
