//! A name server outside of the cluster: NSD on the internet host, for the root and all names of a small
//! world, over UDP, TCP and TLS.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::lab::{Lab, eventually, success};

/// Its addresses.
pub(crate) const ADDRS: [&str; 2] = ["203.0.113.10", "2001:db8:1::10"];

/// The world. `big` takes TCP, `poison` has records that are none of its business.
const ZONE: &str = "\
$ORIGIN .
$TTL 60
@ SOA ns.example. host.example. 1 3600 600 86400 30
@ NS ns.example.
ns.example. A 203.0.113.10
example.org. A 203.0.113.80
example.org. AAAA 2001:db8:1::80
example.org. TXT \"outside\"
example.org. MX 10 mail.example.org.
www.example.org. CNAME example.org.
old.example.org. 4000000 A 203.0.113.81
loop.example.org. CNAME pool.example.org.
pool.example.org. CNAME loop.example.org.
10.113.0.203.in-addr.arpa. PTR ns.example.
*.wild.example.org. A 203.0.113.82
";

/// NSD, until its value goes.
pub(crate) struct Upstream {
    process: Child,
    /// Its certificate, for `dns.example`.
    pub(crate) certificate: PathBuf,
}

impl Upstream {
    /// Starts it and waits until it answers.
    pub(crate) fn start(lab: &Lab) -> Upstream {
        let folder = lab.dir().with_extension("nsd");
        std::fs::create_dir_all(&folder).expect("make NSD's folder");
        certify(&folder);
        let big = (1..=90).map(|n| format!("big.example.org. A 203.0.113.{n}\n"));
        let zone = ZONE.to_owned() + &big.collect::<String>();
        std::fs::write(folder.join("zone"), zone).expect("write the zone");
        std::fs::write(folder.join("nsd.conf"), settings(&folder)).expect("write NSD's settings");
        let mut command = lab.seaway(&["lab", "internet"]);
        let config = folder.join("nsd.conf");
        command.args(["--", "nsd", "-d", "-c"]).arg(&config).stdout(Stdio::null());
        let process = command.stderr(Stdio::null()).spawn().expect("start nsd");
        let upstream = Upstream { process, certificate: folder.join("cert.pem") };
        for addr in ADDRS {
            eventually("NSD answers", || {
                let at = format!("@{addr}");
                let mut dig = lab.seaway(&["lab", "internet"]);
                dig.args(["--", "dig", &at, "+short", "+tries=1", "+time=1", "example.org"]);
                match success(&dig.output().expect("start dig")) {
                    Ok(said) if said == "203.0.113.80" => Ok(()),
                    other => Err(other),
                }
            });
        }
        upstream
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Its processes are the lab's and end with it; what waits here is the command that started them.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A key, and a certificate for it.
fn certify(folder: &Path) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=dns.example"]);
    openssl.args(["-addext", "subjectAltName=DNS:dns.example"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder);
    success(&openssl.output().expect("start openssl")).expect("make a certificate");
}

fn settings(folder: &Path) -> String {
    let folder = folder.display();
    let at: String = ADDRS.map(|a| format!("  ip-address: {a}\n  ip-address: {a}@853\n")).concat();
    format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  database: \"\"\n  pidfile: \"\"\n  \
         xfrdfile: \"\"\n  zonelistfile: \"\"\n  zonesdir: \"{folder}\"\n  server-count: 1\n{at}  \
         tls-port: 853\n  tls-service-key: \"{folder}/key.pem\"\n  \
         tls-service-pem: \"{folder}/cert.pem\"\nremote-control:\n  control-enable: no\n\
         zone:\n  name: \".\"\n  zonefile: \"zone\"\n"
    )
}
