//! Whether DNS is answered on this node, as a process of the node that asks.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use model::DomainName;
use wire::dns::{Asked, Heard, Rcode, RecordType, Section, hear};

use super::{Finding, Verdict};

const WHAT: &str = "DNS";
const OTHERS: &str = "DNS of others";

/// Asks at the addresses of `listeners`, as the agent prints them, and waits `timeout` for an answer.
pub(super) fn answer(listeners: &str, timeout: Duration) -> Vec<Finding> {
    let local = |line: &str| line.strip_suffix(" untracked")?.parse().ok();
    let addrs: Vec<SocketAddr> = listeners.lines().filter_map(local).collect();
    let Some(first) = addrs.first() else {
        let text = "this node answers none: there is no Service for it, or it is switched off";
        return vec![Finding::new(WHAT, Verdict::Good, text)];
    };
    let failures: Vec<String> = addrs
        .iter()
        .filter_map(|server| asked_back(*server, timeout).err())
        .map(|error| format!("{error:#}"))
        .collect();
    let named =
        |addrs: &[SocketAddr]| addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let own = match failures.is_empty() {
        true => Finding::new(WHAT, Verdict::Good, format!("answers at {}", named(&addrs))),
        false => Finding::new(WHAT, Verdict::Bad, failures.join("; ")),
    };
    vec![own, others(*first, timeout)]
}

/// Whether the address of a server is called something, over UDP, and what that is called has an
/// address, over TCP. An address that no Service has is called nothing, which is an answer, too.
fn asked_back(server: SocketAddr, timeout: Duration) -> anyhow::Result<()> {
    let asked = ask_udp(server, &DomainName::reverse(server.ip()), RecordType::PTR, timeout);
    let (rcode, names) = asked.with_context(|| format!("ask {server} over UDP"))?;
    let Some(name) = names.first() else {
        ensure!(
            rcode == Rcode::NxDomain,
            "{server} says {rcode} when it is asked for its own name"
        );
        return Ok(());
    };
    let name = DomainName::from_wire(name).with_context(|| format!("{server} has no name"))?;
    let (kind, wanted) = match server.ip() {
        IpAddr::V4(ip) => (RecordType::A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (RecordType::AAAA, ip.octets().to_vec()),
    };
    let asked = ask_tcp(server, &name, kind, timeout);
    let (rcode, addrs) = asked.with_context(|| format!("ask {server} over TCP"))?;
    let leads_back = addrs.contains(&wanted);
    ensure!(leads_back, "{server} says {rcode} for {name}, and not that this is where it is");
    Ok(())
}

/// Whether somebody answers for names outside of the cluster, be it that there is none: asked for the
/// root's servers.
fn others(server: SocketAddr, timeout: Duration) -> Finding {
    match ask_udp(server, &DomainName::ROOT, RecordType::NS, timeout) {
        Ok((Rcode::NoError | Rcode::NxDomain, _)) => {
            Finding::new(OTHERS, Verdict::Good, "names outside of the cluster are answered")
        }
        Ok((rcode, _)) => {
            let text =
                format!("names outside of the cluster are not answered: {rcode} for the root");
            Finding::new(OTHERS, Verdict::Doubtful, text)
        }
        Err(error) => Finding::new(OTHERS, Verdict::Doubtful, format!("{error:#}")),
    }
}

/// How a question fared, and the values of the records of its type.
type Answered = (Rcode, Vec<Vec<u8>>);

fn question(name: &DomainName, kind: RecordType) -> Vec<u8> {
    let asked = Asked { name, kind, dnssec_ok: false, checking_disabled: false, has_edns: true };
    // The socket is connected, and nobody who could guess an id could not read it.
    asked.message(1)
}

fn answered(heard: &Heard<'_>, kind: RecordType) -> anyhow::Result<Answered> {
    let of_kind = heard.records().iter().filter(|record| record.kind == kind);
    let answers = of_kind.filter(|record| record.section == Section::Answer);
    let rcode = heard.rcode.context("an answer that means nothing here")?;
    Ok((rcode, answers.filter_map(|record| record.rdata()).collect()))
}

fn ask_udp(
    server: SocketAddr,
    name: &DomainName,
    kind: RecordType,
    timeout: Duration,
) -> anyhow::Result<Answered> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    let question = question(name, kind);
    socket.send(&question)?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no answer within {} s", timeout.as_secs());
        }
        socket.set_read_timeout(Some(left))?;
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        if let Some(heard) = hear(&buffer[..len], &question) {
            return answered(&heard, kind);
        }
    }
}

fn ask_tcp(
    server: SocketAddr,
    name: &DomainName,
    kind: RecordType,
    timeout: Duration,
) -> anyhow::Result<Answered> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let question = question(name, kind);
    let length = u16::try_from(question.len()).context("a question of two names")?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    let heard = hear(&message, &question).context("what came is not the answer")?;
    answered(&heard, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_says_nothing_fails_and_none_at_all_does_not() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listeners = format!("{} untracked\n", silent.local_addr().unwrap());
        let findings = answer(&listeners, Duration::from_millis(50));
        let verdicts: Vec<Verdict> = findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Bad, Verdict::Doubtful], "{findings:?}");
        let none = answer("192.0.2.1:10053 for clients\nclient 10.244.0.0/16\n", Duration::ZERO);
        assert_eq!(none.len(), 1);
        assert_eq!(none[0].verdict, Verdict::Good);
    }
}
