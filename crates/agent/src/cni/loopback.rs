//! The `loopback` plugin: raises `lo`. containerd before 2.0 executes it for every sandbox and fails
//! without, so a node with no other plugins needs one; the agent puts this one in place when there
//! is none. It needs no agent and keeps nothing.
//!
//! Source: containernetworking/plugins, `plugins/main/loopback`; containerd `pkg/cri/config`.

use kernel::netns::Netns;
use wire::cni::{
    AddResult, Code, Environment, Error, Interface, Ip, Operation, Reply, Version, parse,
};

use super::plugin::refused;

/// Answers a runtime's request. VERSION never comes here.
pub fn run(environment: &Environment, stdin: &[u8]) -> Reply {
    match act(environment, stdin) {
        Ok(stdout) => Reply { success: true, stdout },
        Err(error) => refused(&error, Version::of(stdin)),
    }
}

fn act(environment: &Environment, stdin: &[u8]) -> Result<String, Error> {
    let request = parse(environment, stdin)?;
    match request.operation {
        Operation::Add(add) => {
            raise(&environment.netns)?;
            let result = result_of(&environment.ifname, &environment.netns);
            let result = match add.previous {
                Some(previous) => result.after(previous),
                None => result,
            };
            Ok(result.to_json(request.version))
        }
        // Raising what is up changes nothing, and CHECK is asked whether it is.
        Operation::Check(_) => raise(&environment.netns).map(|()| String::new()),
        Operation::Del(_) | Operation::Gc(_) | Operation::Status => Ok(String::new()),
    }
}

fn raise(netns: &str) -> Result<(), Error> {
    let namespace =
        Netns::open(netns).map_err(|error| Error::new(Code::InvalidNetns, model::chain(&error)))?;
    let failed =
        |why: String| Error::new(Code::Failed, format!("raise lo in {netns}")).because(why);
    namespace
        .run(kernel::confine::raise_loopback)
        .map_err(|error| failed(model::chain(&error)))?
        .map_err(|error| failed(error.to_string()))
}

fn result_of(ifname: &str, netns: &str) -> AddResult {
    let interface = Interface {
        name: ifname.to_owned(),
        mac: Some("00:00:00:00:00:00".to_owned()),
        sandbox: Some(netns.to_owned()),
        ..Interface::default()
    };
    let ip = |address: ipnet::IpNet| Ip { address, gateway: None, interface: Some(0) };
    let local = [
        ipnet::Ipv4Net::new_assert([127, 0, 0, 1].into(), 8).into(),
        ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128).into(),
    ];
    AddResult { interfaces: vec![interface], ips: local.map(ip).into(), ..AddResult::default() }
}
