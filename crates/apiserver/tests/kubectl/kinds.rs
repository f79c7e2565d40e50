//! Every kind that strangers' manifests contain can be created, listed, described and explained.
use crate::Cluster;

/// A small object of each kind with the words that `kubectl get` and `describe` know it by.
const MANIFESTS: &str = include_str!("kinds.yaml");

#[test]
fn every_kind_can_be_created_listed_described_and_explained() {
    let cluster = Cluster::start();
    for manifest in MANIFESTS.split("---\n").filter(|manifest| !manifest.trim().is_empty()) {
        let created = cluster.kubectl_with("create -f - -o name", manifest);
        let object = created.trim();
        let (kind, name) = object.split_once('/').unwrap();
        let wide = cluster.kubectl(&format!("get {object} -o wide"));
        assert!(wide.lines().nth(1).is_some_and(|row| row.starts_with(name)), "{object}: {wide}");
        let described = cluster.kubectl(&format!("describe {object}"));
        assert!(
            described.starts_with("Name:") && described.contains(name),
            "{object}: {described}"
        );
        let short = kind.split('.').next().unwrap();
        let explained = cluster.kubectl(&format!("explain {short} --recursive"));
        assert!(explained.contains("metadata\t<ObjectMeta>"), "{kind}: {explained}");
        let again = cluster.kubectl_with("apply -f -", manifest);
        assert!(again.contains("configured") || again.contains("unchanged"), "{object}: {again}");
    }
}
