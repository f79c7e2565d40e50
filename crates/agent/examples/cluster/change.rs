//! From a write of one EndpointSlice until the kernel has it, and until the node's DNS says so.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use kernel::monitor::{Changed, Monitor};
use kube::Client;
use model::DomainName;
use wire::dns::{Asked, Rcode, RecordType};

use crate::Outcome;
use crate::objects::{self, Size};

/// How many changes are measured, after as many that are not.
const CHANGES: u32 = 300;

/// Between two changes: who was told something by the API server a moment ago is not told at once.
const QUIET: Duration = Duration::from_millis(20);

/// Longer than a change may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the agent answers DNS.
const DNS: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 20, 10), 53);

/// Makes one change after the other. Returns p50 and p99, from the moment the request is sent until
/// it is answered, until the kernel says that it has committed a transaction, and until the new endpoint
/// has a name.
pub(crate) async fn measure(client: &Client, size: Size) -> Outcome<String> {
    let committed = commits()?;
    let dns = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    dns.connect(DNS)?;
    dns.set_read_timeout(Some(PATIENCE))?;
    let (mut answered, mut took, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..2 * CHANGES {
        let (service, salt) = (at * 7919 % size.services, 1 + at % 249);
        let name = objects::name(size, service, salt).parse()?;
        let start = Instant::now();
        objects::change(client, size, service, salt).await?;
        answered.push(start.elapsed());
        let end = loop {
            let end = committed.recv_timeout(PATIENCE)?;
            if end > start {
                break end;
            }
        };
        took.push(end - start);
        while !has_address(&dns, &name)? {
            if start.elapsed() > PATIENCE {
                return Err(format!("{name} has no address").into());
            }
        }
        named.push(start.elapsed());
        tokio::time::sleep(QUIET).await;
        if committed.try_recv().is_ok() {
            return Err("one change was more than one transaction".into());
        }
    }
    Ok(format!("{} | {} | {}", typical(answered), typical(took), typical(named)))
}

/// Asks DNS once.
fn has_address(dns: &UdpSocket, name: &DomainName) -> Outcome<bool> {
    let asked = Asked {
        name,
        kind: RecordType::A,
        dnssec_ok: false,
        checking_disabled: false,
        has_edns: false,
    };
    let question = asked.message(1);
    dns.send(&question)?;
    let mut message = [0; 512];
    let length = dns.recv(&mut message)?;
    let heard =
        wire::dns::hear(&message[..length], &question).ok_or("no answer to the question")?;
    Ok(heard.rcode == Some(Rcode::NoError) && !heard.records().is_empty())
}

/// p50 and p99 of the second half.
fn typical(mut took: Vec<Duration>) -> String {
    let mut took = took.split_off(took.len() / 2);
    took.sort_unstable();
    format!("{:.1?} / {:.1?}", took[took.len() / 2], took[took.len() * 99 / 100])
}

/// The moments at which the kernel committed what somebody else wrote to our tables.
fn commits() -> Outcome<Receiver<Instant>> {
    let mut monitor = Monitor::open()?;
    let (sender, receiver) = channel();
    thread::spawn(move || {
        while let Ok(Some(changed)) = monitor.next(None) {
            let is_ours = matches!(changed, Changed::Nftables { .. });
            if is_ours && sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
