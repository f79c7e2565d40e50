//! Claims about snapshots: what was written is read, all of it or nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use fixtures::clusters::cluster_with_services;
use fixtures::compat;
use fixtures::policies::arbitrary;
use model::decode::{self, DecodeError};
use model::{NodeName, World};
use proptest::prelude::*;

use super::read::read;
use super::write::write;
use super::*;
use crate::scratch::Scratch;

const AT: Duration = Duration::from_secs(1_795_255_278);

fn me() -> NodeName {
    NodeName::from("node-1")
}

fn objects() -> Objects {
    let mut world = World::default();
    let node = decode::node(br#"{"metadata":{"name":"node-1"}}"#).unwrap();
    world.nodes.insert(node.name.clone(), Arc::new(node));
    let namespace = decode::namespace(br#"{"metadata":{"name":"shop"}}"#).unwrap();
    world.namespaces.insert("shop".into(), Arc::new(namespace));
    let json =
        br#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.9"}}"#;
    let service = decode::service(json).unwrap();
    world.services.insert(service.name.clone(), Arc::new(service));
    let json = br#"{"metadata":{"name":"p","namespace":"shop","uid":"u"},"spec":{"nodeName":"a"}}"#;
    let pod = decode::pod(json).unwrap();
    world.pods.insert(pod.name.clone(), Arc::new(pod));
    let json = br#"{"metadata":{"name":"x","namespace":"shop"},"spec":{"podSelector":{}}}"#;
    let policy = decode::network_policy(json).unwrap();
    world.policies.insert(policy.name.clone(), Arc::new(policy));
    let json = br#"{"metadata":{"name":"y"},"spec":{"priority":1,"subject":{"namespaces":{}}}}"#;
    let policy = decode::admin_policy(json).unwrap();
    world.cluster_policies.insert(policy.name.clone(), Arc::new(policy));
    Objects::of(&world)
}

/// What is read of a file with this text.
fn said(text: &[u8]) -> String {
    let scratch = Scratch::new();
    fs::write(scratch.path().join(FILE), text).unwrap();
    match read(scratch.path(), &me()) {
        Ok(Some(recalled)) => format!("{} nodes", recalled.objects.nodes.len()),
        Ok(None) => "nothing".to_owned(),
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with(scratch.path().to_str().unwrap()), "{text}");
            text.split_once(" is not used: ").unwrap().1.to_owned()
        }
    }
}

/// The bytes of a snapshot.
fn written(objects: &Objects) -> Vec<u8> {
    let scratch = Scratch::new();
    let bytes = write(scratch.path(), &me(), objects, AT).unwrap();
    let text = fs::read(scratch.path().join(FILE)).unwrap();
    assert_eq!(bytes, text.len() as u64);
    text
}

#[test]
fn what_is_written_is_read_by_its_node_and_by_no_other_user() {
    let scratch = Scratch::new();
    assert!(read(scratch.path(), &me()).unwrap().is_none());
    write(scratch.path(), &me(), &Objects::default(), AT).unwrap();
    write(scratch.path(), &me(), &objects(), AT).unwrap();
    let recalled = read(scratch.path(), &me()).unwrap().unwrap();
    assert_eq!((recalled.written, recalled.objects), (AT, objects()));
    let files: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_snapshot_of_this_node_is_refused_with_its_reason() {
    let text = String::from_utf8(written(&objects())).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let with = |from: &str, to: &str| text.replacen(from, to, 1);
    let cases = [
        (String::new(), "it ends before its end"),
        ("leases\n".to_owned(), "its first line is not that of a snapshot"),
        (with("snapshot 2 node-1 1", "snapshot x"), "its first line is not that of a snapshot"),
        (with("snapshot 2", "snapshot 1"), "it has version 1, and this agent reads version 2"),
        (with("snapshot 2 node-1", "snapshot 2 node-2"), "it was written on node node-2"),
        (with("Service ", "Server "), "line 4 is none of a snapshot"),
        (with("Service ", "EndpointSlice "), "line 4 is none of a snapshot"),
        (with("AdminNetworkPolicy ", "NetworkPolicyClass "), "line 7 is none of a snapshot"),
        (with("10.96.0.9", "10.96"), "line 4: Service shop/web: spec.clusterIPs[0]: \"10.96\" is"),
        (with("10.96.0.9", "10.96.0.8"), "its checksum or its number of objects"),
        (with(lines[2], lines[1]), "its checksum or its number of objects"),
        (with("end 6", "end 7"), "its checksum or its number of objects"),
        (text.clone() + "more", "its checksum or its number of objects"),
    ];
    for (text, want) in cases {
        let said = said(text.as_bytes());
        assert!(said.starts_with(want), "{said}: {text}");
    }
    assert_eq!(said(text.as_bytes()), "1 nodes");
}

#[test]
fn cut_or_changed_anywhere_a_snapshot_is_refused() {
    let text = written(&objects());
    for cut in 0..text.len() {
        assert_ne!(said(&text[..cut]), "1 nodes", "cut at {cut}");
        let mut broken = text.clone();
        broken[cut] ^= 1;
        assert_ne!(said(&broken), "1 nodes", "byte {cut}");
    }
}

#[test]
fn one_that_cannot_be_written_leaves_the_old_one_and_nothing_else() {
    let scratch = Scratch::new();
    write(scratch.path(), &me(), &objects(), AT).unwrap();
    // A directory cannot be opened for writing, nor replaced by a file.
    fs::create_dir(scratch.path().join(NEW_FILE)).unwrap();
    write(scratch.path(), &me(), &Objects::default(), AT).unwrap_err();
    assert_eq!(read(scratch.path(), &me()).unwrap().unwrap().objects, objects());
}

/// An object of each kind, as API servers have them.
const EVERY_KIND: [(&str, &str); 10] = [
    (
        "Node",
        r#"{"metadata":{"name":"node-1","labels":{"topology.kubernetes.io/zone":"z"}},
            "spec":{"podCIDRs":["10.244.1.0/24","fd00:10:244:1::/64"]},
            "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.11"}]}}"#,
    ),
    ("Namespace", r#"{"metadata":{"name":"shop","labels":{"team":"a"}}}"#),
    ("ServiceCIDR", r#"{"metadata":{"name":"kubernetes"},"spec":{"cidrs":["10.96.0.0/16"]}}"#),
    (
        "Service",
        r#"{"metadata":{"name":"web","namespace":"shop"},"spec":{"type":"NodePort","clusterIP":"10.96.0.9",
            "clusterIPs":["10.96.0.9"],"selector":{"app":"web"},"sessionAffinity":"ClientIP",
            "ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":"http","nodePort":30080}]}}"#,
    ),
    (
        "EndpointSlice",
        r#"{"metadata":{"name":"web-1","namespace":"shop","labels":{"kubernetes.io/service-name":"web"}},
            "addressType":"IPv4","ports":[{"name":"http","port":8080,"protocol":"TCP"}],
            "endpoints":[{"addresses":["10.244.1.2"],"nodeName":"node-1","conditions":{"ready":true},
            "targetRef":{"kind":"Pod","name":"web-0","namespace":"shop"}}]}"#,
    ),
    (
        "Pod",
        r#"{"metadata":{"name":"web-0","namespace":"shop","uid":"u-1","labels":{"app":"web"}},
            "spec":{"nodeName":"node-1","containers":[{"name":"main","ports":[{"name":"http","containerPort":8080}]}]},
            "status":{"podIPs":[{"ip":"10.244.1.2"}]}}"#,
    ),
    (
        "NetworkPolicy",
        r#"{"metadata":{"name":"x","namespace":"shop","uid":"u-2","generation":3},"spec":{"podSelector":{"matchLabels":{"app":"web"}},
            "policyTypes":["Ingress"],"ingress":[{"from":[{"ipBlock":{"cidr":"192.0.2.0/24"}}],"ports":[{"port":"http"}]}]}}"#,
    ),
    (
        "ClusterNetworkPolicy",
        r#"{"metadata":{"name":"c","uid":"u-3","generation":1},"spec":{"tier":"Admin","priority":7,
            "subject":{"namespaces":{}},"ingress":[{"name":"n","action":"Deny","from":[{"namespaces":{}}]}]}}"#,
    ),
    (
        "AdminNetworkPolicy",
        r#"{"metadata":{"name":"y","uid":"u-4","generation":1},"spec":{"priority":1,"subject":{"namespaces":{}}}}"#,
    ),
    (
        "BaselineAdminNetworkPolicy",
        r#"{"metadata":{"name":"default","uid":"u-5","generation":1},"spec":{"subject":{"namespaces":{}}}}"#,
    ),
];

#[test]
fn compat_snapshots_of_all_releases_are_read() {
    let mut objects = Objects::default();
    for (kind, json) in EVERY_KIND {
        let is_known = objects.put(kind.as_bytes(), json.as_bytes());
        assert!(is_known.unwrap(), "{kind}");
    }
    compat::is_what_this_release_has("snapshot", &written(&objects));
    for (release, text) in compat::of_all_releases("snapshot") {
        let scratch = Scratch::new();
        fs::write(scratch.path().join(FILE), &text).unwrap();
        let recalled = read(scratch.path(), &me()).unwrap().unwrap();
        assert_eq!((recalled.written, &recalled.objects), (AT, &objects), "{release}");
        let more = String::from_utf8(text)
            .unwrap()
            .replace("{\"metadata\"", "{\"later\":[1],\"metadata\"");
        fs::write(scratch.path().join(FILE), resealed(&more)).unwrap();
        let recalled = read(scratch.path(), &me()).unwrap().unwrap();
        assert_eq!(recalled.objects, objects, "{release}: fields of a later one are skipped");
    }
}

/// A snapshot with another text and the end that belongs to it.
fn resealed(text: &str) -> String {
    let (lines, end) = text.trim_end().rsplit_once('\n').unwrap();
    let count = end.split(' ').nth(1).unwrap();
    let sum = crc32fast::hash(format!("{lines}\n").as_bytes());
    format!("{lines}\nend {count} {sum:08x}\n")
}

#[test]
fn compat_the_snapshot_of_a_later_release_is_refused_and_takes_no_lease_along() {
    let scratch = Scratch::new();
    let (_, ledger) = compat::of_all_releases("ledger").pop().unwrap();
    fs::write(scratch.path().join("ledger"), ledger).unwrap();
    let later = VERSION + 1;
    let text = resealed(&format!("{MAGIC} {later} node-1 1\nLater {{}}\nend 1 0\n"));
    fs::write(scratch.path().join(FILE), &text).unwrap();
    let refused = read(scratch.path(), &me()).unwrap_err().to_string();
    let want = format!("it has version {later}, and this agent reads version {VERSION}");
    assert!(refused.ends_with(&want), "{refused}");
    assert_eq!(fs::read_to_string(scratch.path().join(FILE)).unwrap(), text, "it stays");
    let (journal, _) = crate::journal::Journal::open(scratch.path(), 0).unwrap();
    assert_eq!(journal.leases().attachments.len(), 2);
}

/// A node with a uid, whose zone is a label, too, as it is of every Node of an API server.
fn labelled((name, node): (NodeName, Arc<Node>)) -> (NodeName, Arc<Node>) {
    let zone = node.zone.iter().map(|zone| ("topology.kubernetes.io/zone", &**zone));
    let labels = zone.collect();
    let uid = "6f0c2a4e-57a5-4f0e-9a51-6d3d8d8f2b11".into();
    (name, Arc::new(Node { labels, uid, ..Node::clone(&node) }))
}

/// Policies without what their faults say, which is something else when they are read again.
fn unreasoned(mut objects: Objects) -> Objects {
    fn without(faults: &mut [DecodeError]) {
        for fault in faults {
            fault.field.clear();
            fault.reason.clear();
        }
    }
    objects.policies = objects
        .policies
        .into_iter()
        .map(|(name, policy)| {
            let mut policy = NetworkPolicy::clone(&policy);
            without(&mut policy.faults);
            (name, Arc::new(policy))
        })
        .collect();
    objects.cluster_policies = objects
        .cluster_policies
        .into_iter()
        .map(|(name, policy)| {
            let mut policy = ClusterPolicy::clone(&policy);
            without(&mut policy.faults);
            (name, Arc::new(policy))
        })
        .collect();
    objects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_cluster_is_read_as_it_was_written(cluster in cluster_with_services()) {
        let scratch = Scratch::new();
        for world in cluster.values() {
            let mut objects = Objects::of(world);
            objects.nodes = objects.nodes.into_iter().map(labelled).collect();
            write(scratch.path(), &me(), &objects, AT).unwrap();
            prop_assert_eq!(read(scratch.path(), &me()).unwrap().unwrap().objects, objects);
        }
    }

    #[test]
    fn any_policies_are_read_as_they_were_written((world, _) in arbitrary::world()) {
        let scratch = Scratch::new();
        let objects = Objects::of(&world);
        write(scratch.path(), &me(), &objects, AT).unwrap();
        let recalled = read(scratch.path(), &me()).unwrap().unwrap().objects;
        prop_assert_eq!(unreasoned(recalled), unreasoned(objects));
    }
}
