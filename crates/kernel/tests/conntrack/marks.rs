//! What is left of connections' marks, with `conntrack` as the judge.

use std::process::Command;

use seaway_kernel::conntrack::Entries;
use seaway_kernel::netns::unshare_thread;

use super::run_all;

/// The marks of a family's entries, by protocol.
fn marks(family: &str) -> Vec<String> {
    let list = Command::new("conntrack").args(["-L", "-f", family]).output().unwrap();
    let mut marks: Vec<String> = String::from_utf8(list.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let protocol = words.next().unwrap();
            let mark = words.find_map(|word| word.strip_prefix("mark=")).unwrap();
            format!("{protocol} {mark}")
        })
        .collect();
    marks.sort();
    marks
}

#[test]
fn bits_are_taken_out_of_all_marks_and_the_others_stay() {
    unshare_thread().unwrap();
    // Only what is tracked has entries: the tables of a namespace are there with its first rule.
    run_all(&["nft add table inet tracked"]);
    let udp = "-p udp --sport 4000 --dport 53 --reply-port-src 53 --reply-port-dst 4000";
    let [v4, v6] = ["-s 10.1.0.7 -d 10.1.0.8", "-s fd00:1::7 -d fd00:1::8"];
    let tcp = "-p tcp --state ESTABLISHED --sport 4000 --dport 80";
    let icmp = "-p icmp --icmp-type 8 --icmp-code 0 --icmp-id 1";
    run_all(&[
        &format!("conntrack -I {v4} {udp} -t 300 -m {}", 0x0700_0001),
        &format!("conntrack -I {v4} {tcp} -t 300 -m {}", 0x00ab_cdef),
        &format!("conntrack -I {v4} {icmp} -t 300 -m {}", 0xff00_0000_u32),
        &format!("conntrack -I {v6} {udp} -t 300 -m {}", 0x0600_0002),
    ]);
    let mut entries = Entries::open().unwrap();
    assert_eq!(entries.unmark(0xff00_0000).unwrap(), 3);
    let stays = format!("tcp {}", 0x00ab_cdef);
    assert_eq!(marks("ipv4"), ["icmp 0", &*stays, "udp 1"]);
    assert_eq!(marks("ipv6"), ["udp 2"]);
    assert_eq!(entries.unmark(0xff00_0000).unwrap(), 0);
}
