//! Claims about the ledger: nothing answered is lost, nothing is leased twice, whatever happens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fixtures::compat;
use model::{Attachment, AttachmentKey, PodRef, PortMapping, Protocol, SearchList};
use proptest::prelude::*;

use super::*;
use crate::scratch::Scratch;

pub(super) fn key(id: &str) -> AttachmentKey {
    AttachmentKey { container_id: id.into(), ifname: "eth0".parse().unwrap() }
}

pub(super) fn attachment(id: &str, addr: &str) -> Attachment {
    Attachment {
        key: key(id),
        network: "seaway".to_owned(),
        netns: format!("/run/netns/{id}").into(),
        pod: None,
        addrs: vec![addr.parse().unwrap()],
        mac: model::Mac::derive(id),
        port_mappings: Vec::new(),
        search: None,
    }
}

fn lease(id: u8) -> Entry {
    Entry::Lease(Arc::new(attachment(&format!("c{id}"), &format!("10.244.1.{id}"))))
}

fn release(id: u8, at: u64) -> Entry {
    Entry::Release { key: key(&format!("c{id}")), at }
}

fn open(scratch: &Scratch) -> (Journal, Found) {
    Journal::open(scratch.path(), 1000).unwrap()
}

#[test]
fn a_ledger_survives_its_process() {
    let scratch = Scratch::new();
    let (mut journal, found) = open(&scratch);
    assert_eq!(found, Found::Nothing);
    journal.commit(&[lease(2), lease(3)]).unwrap();
    journal.commit(&[release(2, 7)]).unwrap();
    let leases = journal.leases().clone();
    drop(journal);
    let (journal, found) = open(&scratch);
    assert_eq!((journal.leases(), found), (&leases, Found::Whole { torn: 0 }));
    assert_eq!(leases.attachments.len(), 1);
    assert_eq!(leases.resting["10.244.1.2".parse::<IpAddr>().as_ref().unwrap()], 7);
}

#[test]
fn two_agents_cannot_share_a_ledger() {
    let scratch = Scratch::new();
    let first = open(&scratch);
    let second = Journal::open(scratch.path(), 0).unwrap_err();
    assert!(matches!(second, OpenError::InUse(_)), "{second}");
    drop(first);
    open(&scratch);
}

#[test]
fn a_ledger_of_a_newer_release_is_left_alone() {
    let scratch = Scratch::new();
    drop(open(&scratch));
    let body = "seaway-ledger 2";
    let text = format!("{:08x} {body}\nwhatever\n", crc32fast::hash(body.as_bytes()));
    fs::write(scratch.path().join("ledger"), &text).unwrap();
    let error = Journal::open(scratch.path(), 0).unwrap_err();
    assert!(matches!(error, OpenError::Future { found: 2, known: 1, .. }), "{error}");
    assert_eq!(fs::read_to_string(scratch.path().join("ledger")).unwrap(), text);
}

#[test]
fn an_address_is_never_leased_twice() {
    let scratch = Scratch::new();
    let (mut journal, _) = open(&scratch);
    journal.commit(&[lease(2)]).unwrap();
    let twin = Entry::Lease(Arc::new(attachment("twin", "10.244.1.2")));
    assert!(matches!(journal.commit(&[lease(3), twin]), Err(CommitError::Doubled(_))));
    assert_eq!(journal.leases().attachments.len(), 1);
    drop(journal);
    assert_eq!(open(&scratch).0.leases().attachments.len(), 1);
}

#[test]
fn cut_at_any_byte_what_was_committed_before_is_there() {
    let scratch = Scratch::new();
    let path = scratch.path().join("ledger");
    let (mut journal, _) = open(&scratch);
    let mut states = vec![(journal.bytes(), journal.leases().clone())];
    for batch in [
        vec![lease(2), lease(3)],
        vec![release(2, 5)],
        vec![lease(4)],
        vec![release(3, 6), lease(5)],
        vec![lease(2)],
    ] {
        journal.commit(&batch).unwrap();
        states.push((journal.bytes(), journal.leases().clone()));
    }
    drop(journal);
    let whole = fs::read(&path).unwrap();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut journal, found) = open(&scratch);
        let expected = states.iter().rev().find(|(end, _)| *end <= cut as u64);
        let Some((end, leases)) = expected else {
            assert!(matches!(found, Found::Corrupt { .. }), "cut at {cut}");
            continue;
        };
        assert_eq!(journal.leases(), leases, "cut at {cut}");
        assert_eq!(found, Found::Whole { torn: cut - usize::try_from(*end).unwrap() });
        journal.commit(&[release(9, 9)]).unwrap();
        drop(journal);
        assert_eq!(open(&scratch).0.leases(), leases, "cut at {cut}, then written");
    }
}

#[test]
fn damage_before_the_end_is_kept_aside() {
    let scratch = Scratch::new();
    let path = scratch.path().join("ledger");
    let (mut journal, _) = open(&scratch);
    journal.commit(&[lease(2)]).unwrap();
    let middle = usize::try_from(journal.bytes()).unwrap() - 5;
    journal.commit(&[lease(3)]).unwrap();
    drop(journal);
    let mut text = fs::read(&path).unwrap();
    text[middle] ^= 0x20;
    fs::write(&path, &text).unwrap();
    let (journal, found) = open(&scratch);
    let Found::Corrupt { kept, why } = found else { panic!("{found:?}") };
    assert_eq!(why, "line 2: checksum does not match");
    assert_eq!(fs::read(kept).unwrap(), text);
    assert_eq!(journal.leases(), &Leases::default());
}

#[test]
fn a_long_ledger_is_rewritten_and_says_the_same() {
    let scratch = Scratch::new();
    let (mut journal, _) = open(&scratch);
    let mut longest = 0;
    for round in 0..600 {
        journal.commit(&[lease(2), lease(3)]).unwrap();
        journal.commit(&[release(2, round), release(3, round)]).unwrap();
        longest = longest.max(journal.bytes());
    }
    assert!((WORTH_COMPACTING / 2..WORTH_COMPACTING).contains(&longest), "{longest}");
    let leases = journal.leases().clone();
    drop(journal);
    assert_eq!(open(&scratch).0.leases(), &leases);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_with_any_crash_matches_the_model(
        steps in prop::collection::vec((any::<bool>(), 2_u8..12), 1..40),
        lost in 0_usize..400,
    ) {
        let scratch = Scratch::new();
        let (mut journal, _) = open(&scratch);
        let mut model: BTreeMap<u8, ()> = BTreeMap::new();
        let mut history = vec![(journal.bytes(), model.clone())];
        for (index, (add, id)) in steps.into_iter().enumerate() {
            if add && !model.contains_key(&id) {
                journal.commit(&[lease(id)]).unwrap();
                model.insert(id, ());
            } else {
                journal.commit(&[release(id, index as u64)]).unwrap();
                model.remove(&id);
            }
            history.push((journal.bytes(), model.clone()));
        }
        drop(journal);
        let path = scratch.path().join("ledger");
        let text = fs::read(&path).unwrap();
        let first = usize::try_from(history[0].0).unwrap();
        let cut = text.len().saturating_sub(lost).max(first);
        fs::write(&path, &text[..cut]).unwrap();
        let expected = &history.iter().rev().find(|(end, _)| *end <= cut as u64).unwrap().1;
        let (journal, _) = open(&scratch);
        let kept: Vec<String> =
            journal.leases().attachments.keys().map(|key| key.container_id.to_string()).collect();
        let mut wanted: Vec<String> = expected.keys().map(|id| format!("c{id}")).collect();
        wanted.sort();
        prop_assert_eq!(kept, wanted);
    }
}

/// Set for the process that [`killed_at_any_moment_nothing_answered_is_lost`] starts and kills.
const VICTIM: &str = "SEAWAY_TEST_LEDGER_VICTIM";

#[test]
fn killed_at_any_moment_nothing_answered_is_lost() {
    if let Some(dir) = std::env::var_os(VICTIM) {
        work_until_killed(Path::new(&dir));
    }
    let scratch = Scratch::new();
    let mut answered = 0;
    for round in 0..40_usize {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "journal::tests::killed_at_any_moment_nothing_answered_is_lost",
            ])
            .env(VICTIM, scratch.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).filter_map(|line| line.parse::<u64>().ok());
        let mut said = said.skip(round % 7);
        answered = said.next().unwrap();
        for _ in 0..round * 500 {
            std::hint::spin_loop();
        }
        victim.kill().unwrap();
        answered = said.last().unwrap_or(answered);
        victim.wait().unwrap();
        let (journal, found) = open(&scratch);
        assert!(matches!(found, Found::Whole { .. }), "{found:?}");
        let kept = last_lease(journal.leases());
        assert!(kept == answered || kept == answered + 1, "kept {kept}, answered {answered}");
        assert_eq!(journal.leases().attachments.len(), 1);
    }
    assert!(answered > 40);
}

fn last_lease(leases: &Leases) -> u64 {
    let ids = leases.attachments.keys().map(|key| key.container_id.parse::<u64>().unwrap());
    ids.max().unwrap_or(0)
}

/// Leases to 1, 2, 3, …, releasing the one before in the same commit, and says each when it is durable.
#[expect(clippy::print_stdout, reason = "the parent reads what was answered")]
fn work_until_killed(dir: &Path) -> ! {
    let (mut journal, _) = Journal::open(dir, 0).unwrap();
    let mut number = last_lease(journal.leases());
    loop {
        let before = Entry::Release { key: key(&number.to_string()), at: number };
        number += 1;
        let next = attachment(&number.to_string(), &format!("10.244.1.{}", number % 250 + 1));
        journal.commit(&[before, Entry::Lease(Arc::new(next))]).unwrap();
        println!("\n{number}");
    }
}

/// Everything that a ledger may hold.
fn everything() -> Vec<Vec<Entry>> {
    let mut full = attachment("full", "10.244.1.2");
    full.addrs.push("fd00:10:244:1::2".parse().unwrap());
    let (namespace, name, uid) = ("shop".to_owned(), "web-0".to_owned(), "u-1".to_owned());
    full.pod = Some(PodRef { namespace, name, uid });
    let port = PortMapping {
        host_port: 8088,
        container_port: 80,
        protocol: Protocol::Udp,
        host_ip: Some("192.0.2.1".parse().unwrap()),
    };
    let anywhere = PortMapping { protocol: Protocol::Tcp, host_ip: None, ..port.clone() };
    full.port_mappings = vec![port, anywhere];
    let domains = ["shop.svc.cluster.local", "cluster.local"];
    full.search = SearchList::new(&domains, &["ndots:5"]).map(Arc::new);
    assert!(full.search.is_some());
    let resting = Entry::Resting { addr: "10.244.1.9".parse().unwrap(), at: 1_795_255_000 };
    vec![
        vec![resting],
        vec![Entry::Lease(Arc::new(full)), lease(3), lease(4)],
        vec![release(4, 1_795_255_278)],
    ]
}

#[test]
fn compat_ledgers_of_all_releases_are_read() {
    let scratch = Scratch::new();
    let (mut journal, _) = open(&scratch);
    everything().iter().for_each(|entries| journal.commit(entries).unwrap());
    let leases = journal.leases().clone();
    drop(journal);
    let path = scratch.path().join("ledger");
    compat::is_what_this_release_has("ledger", &fs::read(&path).unwrap());
    for (version, text) in compat::of_all_releases("ledger") {
        fs::write(&path, &text).unwrap();
        let (mut journal, found) = open(&scratch);
        assert_eq!((journal.leases(), found), (&leases, Found::Whole { torn: 0 }), "{version}");
        journal.commit(&[lease(7), release(3, 9)]).unwrap();
        let leases = journal.leases().clone();
        drop(journal);
        assert_eq!(open(&scratch).0.leases(), &leases, "{version}, written on");
    }
}

#[test]
fn compat_fields_that_a_later_release_adds_to_a_lease_are_skipped() {
    let scratch = Scratch::new();
    let (mut journal, _) = open(&scratch);
    everything().iter().for_each(|entries| journal.commit(entries).unwrap());
    let leases = journal.leases().clone();
    drop(journal);
    let path = scratch.path().join("ledger");
    let resealed = |line: &str| {
        let (_, body) = line.split_once(' ').unwrap();
        let body = body.replace("\"id\":", "\"later\":{\"a\":[1]},\"id\":");
        format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))
    };
    let text: String = fs::read_to_string(&path).unwrap().lines().map(resealed).collect();
    assert!(text.matches("later").count() > 3, "{text}");
    fs::write(&path, text).unwrap();
    assert_eq!(open(&scratch).0.leases(), &leases);
}
