//! Whether Services answer on this node, where their endpoints do.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use super::{Finding, Verdict};

/// Most frontends that are tried.
const TRIED: usize = 256;

/// Connections at a time.
const AT_ONCE: usize = 16;

/// Most backends of a frontend that are asked directly.
const BACKENDS: usize = 8;

/// A cluster IP with endpoints to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frontend {
    service: String,
    at: SocketAddr,
    backends: Vec<SocketAddr>,
}

/// What came of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Answers,
    /// Nor does any of its backends that was asked.
    BackendsSilent,
    /// Some of its backends do, and chance may have drawn the others.
    SomeSilent,
    /// All of its backends do.
    Silent,
}

/// Tries every cluster IP over TCP, as a process of the node.
pub(super) fn answer(services: &Value, timeout: Duration) -> Finding {
    let all = frontends(services);
    let tried = &all[..all.len().min(TRIED)];
    let next = Mutex::new(tried.iter());
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(tried.len()) {
            scope.spawn(|| {
                let take = || next.lock().expect("nobody panics while it holds the lock").next();
                while let Some(frontend) = take() {
                    let outcome = try_one(frontend, timeout);
                    let mut outcomes = outcomes.lock().expect("as above");
                    outcomes.push((frontend, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().expect("as above");
    outcomes.sort_by_key(|(frontend, _)| (&frontend.service, frontend.at));
    verdict(&outcomes, all.len())
}

fn frontends(services: &Value) -> Vec<Frontend> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for service in list(&services["services"]) {
        let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
        let name = format!("{}/{}", text("namespace"), text("name"));
        for port in list(&service["ports"]).iter().filter(|port| port["protocol"] == "tcp") {
            for frontend in list(&port["frontends"]) {
                let Some(set) = frontend["inside"]["to"].as_str() else { continue };
                let Some(at) = socket(&frontend).filter(|_| frontend["kind"] == "cluster IP")
                else {
                    continue;
                };
                let backends = list(&port[set]).iter().filter_map(socket).collect();
                found.push(Frontend { service: name.clone(), at, backends });
            }
        }
    }
    found
}

fn socket(value: &Value) -> Option<SocketAddr> {
    let addr: IpAddr = value["address"].as_str()?.parse().ok()?;
    Some(SocketAddr::new(addr, u16::try_from(value["port"].as_u64()?).ok()?))
}

fn try_one(frontend: &Frontend, timeout: Duration) -> Outcome {
    let answers = |at: &SocketAddr| TcpStream::connect_timeout(at, timeout).is_ok();
    if answers(&frontend.at) {
        return Outcome::Answers;
    }
    let asked = || frontend.backends.iter().take(BACKENDS);
    match asked().filter(|at| answers(at)).count() {
        0 => Outcome::BackendsSilent,
        all if all == asked().count() => Outcome::Silent,
        _ => Outcome::SomeSilent,
    }
}

fn verdict(outcomes: &[(&Frontend, Outcome)], all: usize) -> Finding {
    let of = |wanted: Outcome| -> Vec<String> {
        let found = outcomes.iter().filter(|(_, outcome)| *outcome == wanted);
        found.map(|(frontend, _)| format!("{} at {}", frontend.service, frontend.at)).collect()
    };
    let silent = of(Outcome::Silent);
    let doubtful = [of(Outcome::SomeSilent), of(Outcome::BackendsSilent)].concat();
    let what = "Services";
    if !silent.is_empty() {
        let text = format!("do not answer, though all their endpoints do: {}", silent.join(", "));
        return Finding::new(what, Verdict::Bad, text);
    }
    if !doubtful.is_empty() {
        let text = format!("have endpoints that do not answer themselves: {}", doubtful.join(", "));
        return Finding::new(what, Verdict::Doubtful, text);
    }
    let tried = outcomes.len();
    let of_all = if tried < all { format!(" of {all}") } else { String::new() };
    Finding::new(what, Verdict::Good, format!("answer at {tried}{of_all} cluster IPs over TCP"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;

    #[test]
    fn only_cluster_ips_that_lead_somewhere_are_tried() {
        let frontend = |kind: &str, addr: &str, inside: Value| json!({ "kind": kind, "address": addr, "port": 80, "inside": inside });
        let to = |set: &str| json!({ "to": set, "source": "kept" });
        let services = json!({ "services": [{ "namespace": "shop", "name": "web", "ports": [
            { "protocol": "tcp", "local": [{ "address": "10.0.0.1", "port": 8080 }], "cluster": [],
              "frontends": [frontend("cluster IP", "10.96.0.1", to("local")),
                            frontend("load balancer", "203.0.113.1", to("cluster")),
                            frontend("cluster IP", "10.96.0.2", json!("reject"))] },
            { "protocol": "udp", "frontends": [frontend("cluster IP", "10.96.0.1", to("cluster"))] },
        ] }] });
        let found = frontends(&services);
        let wanted = Frontend {
            service: "shop/web".to_owned(),
            at: "10.96.0.1:80".parse().unwrap(),
            backends: vec!["10.0.0.1:8080".parse().unwrap()],
        };
        assert_eq!(found, [wanted]);
    }

    #[test]
    fn a_service_is_at_fault_only_where_its_endpoints_are_not() {
        let closed: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let cases = [
            (open, vec![closed], Outcome::Answers, Verdict::Good),
            (closed, vec![closed], Outcome::BackendsSilent, Verdict::Doubtful),
            (closed, vec![], Outcome::BackendsSilent, Verdict::Doubtful),
            (closed, vec![open, closed], Outcome::SomeSilent, Verdict::Doubtful),
            (closed, vec![open], Outcome::Silent, Verdict::Bad),
        ];
        for (at, backends, outcome, verdict_of) in cases {
            let frontend = Frontend { service: "a/b".to_owned(), at, backends };
            let got = try_one(&frontend, Duration::from_secs(1));
            assert_eq!((got, verdict(&[(&frontend, got)], 1).verdict), (outcome, verdict_of));
        }
    }
}
