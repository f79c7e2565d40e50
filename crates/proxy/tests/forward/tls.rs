//! A name server of others that speaks TLS: NSD, with a certificate of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use model::DomainName;
use model::forwarding::{ForwardZone, Forwarding, Over, Server, Upstream};
use wire::dns::Rcode;

use super::{addresses, ask, forwarder};

/// All names of the world.
const ZONE: &str = "$ORIGIN .\n$TTL 60\n@ SOA ns.example. host.example. 1 3600 600 86400 30\n\
                    @ NS ns.example.\nns.example. A 192.0.2.1\n*.example.org. A 192.0.2.7\n";

/// NSD on loopback, until its value goes.
struct Nsd {
    process: Child,
    folder: PathBuf,
    addr: SocketAddr,
}

impl Nsd {
    /// Starts it and waits until it takes connections.
    fn start() -> Nsd {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let name = format!("seaway-proxy-test-nsd-{}", addr.port());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        certify(&folder, "ours", "dns.example");
        certify(&folder, "strangers", "dns.example");
        fs::write(folder.join("zone"), ZONE).unwrap();
        fs::write(folder.join("nsd.conf"), settings(&folder, addr.port())).unwrap();
        let mut command = Command::new("nsd");
        command.args(["-d", "-c"]).arg(folder.join("nsd.conf"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let nsd = Nsd { process: process.expect("start nsd (cargo xtask install)"), folder, addr };
        for _ in 0..500 {
            if TcpStream::connect(addr).is_ok() {
                return nsd;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("NSD does not listen");
    }

    /// Settings that ask it alone, as `name`, and trust the certificate in the file `trusted`.
    fn asked_as(&self, name: Option<&str>, trusted: &str) -> Forwarding {
        let over = Over::Tls(name.map(str::to_owned));
        let to = vec![Upstream::Server(Server { addr: self.addr, over })];
        let ca = self.folder.join(trusted).to_string_lossy().into_owned();
        let root = ForwardZone { ca: Some(ca), ..ForwardZone::new(DomainName::ROOT, to) };
        Forwarding { zones: vec![root], ..Forwarding::default() }
    }

    /// How many connections to it are open. Who is asked by it keeps one for a while.
    ///
    /// Source: proc(5): in `/proc/net/tcp` the third field is the other end, the fourth the state, of which
    /// 01 is established.
    fn connections(&self) -> usize {
        let port = format!(":{:04X}", self.addr.port());
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[2].ends_with(&port) && fields[3] == "01"
        };
        table.lines().filter(is_open).count()
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // It has children, which end when it is told to.
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// A key, and a certificate for it and `name`.
fn certify(folder: &Path, file: &str, name: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")]);
    openssl.args(["-addext", &format!("subjectAltName=DNS:{name},IP:127.0.0.1")]);
    // One that may sign others is not taken for a server's.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-keyout", &format!("{file}.key"), "-out", &format!("{file}.pem")]);
    let made = openssl.current_dir(folder).output().expect("start openssl (cargo xtask install)");
    assert!(made.status.success(), "{made:?}");
}

fn settings(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  database: \"\"\n  pidfile: \"\"\n  \
         xfrdfile: \"\"\n  zonelistfile: \"\"\n  zonesdir: \"{folder}\"\n  server-count: 1\n  \
         ip-address: 127.0.0.1@{port}\n  tls-port: {port}\n  \
         tls-service-key: \"{folder}/ours.key\"\n  tls-service-pem: \"{folder}/ours.pem\"\n\
         remote-control:\n  control-enable: no\nzone:\n  name: \".\"\n  zonefile: \"zone\"\n"
    )
}

#[tokio::test]
async fn dns82_a_tls_server_is_heard_when_its_certificate_is_for_the_name_that_is_wanted() {
    let nsd = Nsd::start();
    for (name, trusted, is_heard) in [
        (Some("dns.example"), "ours.pem", true),
        (None, "ours.pem", true),
        (Some("other.example"), "ours.pem", false),
        (Some("example"), "ours.pem", false),
        (Some("dns.example"), "strangers.pem", false),
        (Some("dns.example"), "nowhere.pem", false),
    ] {
        let found = ask(&forwarder(nsd.asked_as(name, trusted)), "www.example.org").await;
        let heard = (found.rcode, addresses(&found));
        let want = if is_heard { (Rcode::NoError, vec![7]) } else { (Rcode::ServFail, vec![]) };
        assert_eq!(heard, want, "{name:?}, {trusted}");
    }
}

#[tokio::test]
async fn dns100_questions_by_tls_share_a_connection_and_do_not_wait_for_each_other() {
    let nsd = Nsd::start();
    let forwarder = forwarder(nsd.asked_as(Some("dns.example"), "ours.pem"));
    let names: Vec<String> = (0..200).map(|n| format!("a{n}.example.org")).collect();
    let all = names.iter().map(|name| ask(&forwarder, name));
    for (found, name) in futures_util::future::join_all(all).await.iter().zip(&names) {
        assert_eq!((found.rcode, addresses(found)), (Rcode::NoError, vec![7]), "{name}");
    }
    assert_eq!(nsd.connections(), 1);
}
