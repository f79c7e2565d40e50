//! Blocks that say what follows.

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::sync::Arc;

use fixtures::paper::{Fate, Flow, Network, Origin, Place};
use model::{Family, NodeName, ServiceName, World};
use plan::nft::TableFamily;
use plan::{Plan, Table, nft};
use seaway_compile::cni::{Request, attach};
use seaway_compile::ipam::Released;
use seaway_compile::{Compiled, Scope, compile, services};

use super::input::{key, parse};

fn compiled(world: &World) -> Compiled {
    compile(world, &Scope::Node(world.config.node.clone()))
}

pub(super) fn rejected(world: &World) -> String {
    compiled(world).rejected.iter().map(|row| format!("{row}\n")).collect()
}

pub(super) fn peers(world: &World) -> String {
    compiled(world).peers.to_string()
}

pub(super) fn services(world: &World) -> String {
    compiled(world).services.to_string()
}

pub(super) fn explain(world: &World, name: &ServiceName) -> Result<String, String> {
    let table = compiled(world).services;
    let explanation = services::explain(world, &world.config.node, &table, name);
    explanation.map(|explanation| explanation.to_string()).ok_or(format!("there is no {name}"))
}

/// The tables named, or all that hold a row; a title for each unless it is the only one.
pub(super) fn plan(world: &World, tables: &[&str]) -> Result<String, String> {
    let plan = compiled(world).plan;
    let all = printed(&plan);
    if let Some(unknown) = tables.iter().find(|name| !all.iter().any(|(known, _)| known == *name)) {
        return Err(format!("{unknown:?} is no table of a plan"));
    }
    let mut out = String::new();
    for (name, text) in all {
        let wanted = if tables.is_empty() { !text.is_empty() } else { tables.contains(&name) };
        if wanted {
            if tables.len() != 1 {
                writeln!(out, "# {name}").map_err(|error| error.to_string())?;
            }
            out.push_str(&text);
        }
    }
    Ok(out)
}

fn printed(plan: &Plan) -> Vec<(&'static str, String)> {
    let addrs = plan.addrs.keys().map(|(dev, net)| format!("{net} dev {dev}\n")).collect();
    let mut nft_text = String::new();
    for family in [TableFamily::Inet, TableFamily::Bridge] {
        if plan.nft.get(&nft::Key::Table(family)).is_some() {
            nft_text += &nft::list(&plan.nft, family).replace('\t', "    ");
        }
    }
    let sysctls = plan.sysctls.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
    vec![
        ("links", rows(&plan.links)),
        ("addrs", addrs),
        ("pods", rows(&plan.pods)),
        ("sysctls", sysctls),
        ("neighbors", rows(&plan.neighbors)),
        ("proxies", plan.proxies.keys().map(|key| format!("{key}\n")).collect()),
        ("fdb", rows(&plan.fdb)),
        ("routes", rows(&plan.routes)),
        ("rules", rows(&plan.rules)),
        ("nft", nft_text),
        ("flows", rows(&plan.flows)),
        ("listeners", plan.listeners.keys().map(|key| format!("{key}\n")).collect()),
    ]
}

fn rows<K: Ord + Display, R: Display>(table: &Table<K, R>) -> String {
    table.iter().map(|(key, row)| format!("{key} {row}\n")).collect()
}

/// Asks `body`'s questions and writes the answers in one column.
fn answers(
    body: &str,
    mut answer: impl FnMut(&str) -> Result<String, String>,
) -> Result<String, String> {
    let questions: Vec<&str> =
        body.lines().map(|line| line.split("  ").next().unwrap_or(line)).collect();
    let width = questions.iter().map(|question| question.len()).max().unwrap_or(0);
    let mut out = String::new();
    for question in questions {
        let line = format!("{question:width$}  {}", answer(question)?);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    Ok(out)
}

pub(super) fn packets(network: &Network, body: &str) -> Result<String, String> {
    answers(body, |question| {
        let (from, to) = question.split_once(" -> ").ok_or(format!("{question:?} has no ->"))?;
        let (origin, lie) = match from.split_once(" as ") {
            Some((name, addr)) => (name, Some(parse(addr)?)),
            None => (from, None),
        };
        let origin = origin_of(network, origin)?;
        let flow = flow(network, &origin, lie, to)?;
        Ok(fate(&network.send(&origin, flow), &flow))
    })
}

fn origin_of(network: &Network, name: &str) -> Result<Origin, String> {
    if let Some((node, key)) = network.pod(name) {
        return Ok(Origin::Pod(node.clone(), key.clone()));
    }
    if network.nodes.contains_key(&NodeName::from(name)) {
        return Ok(Origin::Node(name.into()));
    }
    Ok(Origin::Outside { addr: parse(name)?, by: None })
}

/// A packet to `to`: a container (its primary address) or an address, TCP to port 80 unless it says.
fn flow(network: &Network, origin: &Origin, lie: Option<IpAddr>, to: &str) -> Result<Flow, String> {
    let (to, port, protocol) = match to.rsplit_once('/') {
        Some((rest, protocol)) => {
            let (to, port) = rest.rsplit_once(':').ok_or(format!("{to:?} has no port"))?;
            let number = if protocol == "icmpv6" {
                58
            } else {
                protocol.parse::<model::Protocol>()?.number()
            };
            (to, parse(port)?, number)
        }
        None => (to, 80, 6),
    };
    let dst = match network.pod(to) {
        Some((node, key)) => network.nodes[node].0.attachments[key].addrs[0],
        None => parse(to)?,
    };
    let family = Family::of(dst);
    let src = lie.or_else(|| own_address(network, origin, family));
    let src = src.ok_or(format!("the sender has no {family} address"))?;
    Ok(Flow { src, dst, protocol, sport: 40001, dport: port, answer: false })
}

/// The first address of `family` that a packet from `origin` carries.
fn own_address(network: &Network, origin: &Origin, family: Family) -> Option<IpAddr> {
    match origin {
        Origin::Pod(node, key) => {
            let addrs = &network.nodes.get(node)?.0.attachments.get(key)?.addrs;
            addrs.iter().copied().find(|addr| Family::of(*addr) == family)
        }
        Origin::Node(node) => network.nodes.get(node)?.0.nodes.get(node)?.internal_ip(family),
        Origin::Outside { addr, .. } => Some(*addr),
    }
}

/// Who gets the packet, and from where and to which address if either changed.
fn fate(fate: &Fate, sent: &Flow) -> String {
    match fate {
        Fate::Lost(why) => why.clone(),
        Fate::Refused => "refused".to_owned(),
        Fate::Arrives { at, src, dst, dport } => {
            let mut text = at.to_string();
            if (*dst, *dport) != (sent.dst, sent.dport) {
                text += &format!(" at {dst}:{dport}");
            }
            text +=
                &if *src == sent.src { ", source kept".into() } else { format!(", from {src}") };
            if *at == Place::Outside && *src == sent.src {
                text += " (no way back)";
            }
            text
        }
    }
}

/// A journal on paper: leases and releases in order.
pub(super) fn leases(mut world: World, body: &str) -> Result<String, String> {
    let compiled = compile(&world, &Scope::Node(world.config.node.clone()));
    let mut released = Released::new();
    answers(body, |question| {
        let words: Vec<&str> = question.split_whitespace().collect();
        let [now, what, name, ref addrs @ ..] = words[..] else {
            return Err(format!("{question:?}: SECONDS add|del NAME [ADDRESS]"));
        };
        let now = parse(now)?;
        if what == "del" {
            let gone = world.attachments.remove(&key(name)).ok_or(format!("no {name}"))?;
            released.extend(gone.addrs.iter().map(|addr| (*addr, now)));
            return Ok(String::new());
        }
        let request = Request {
            key: key(name),
            network: "seaway".to_owned(),
            netns: format!("/run/netns/{name}").into(),
            pod: None,
            addrs: addrs.iter().map(|addr| parse(addr)).collect::<Result<_, _>>()?,
            mac: None,
            port_mappings: Vec::new(),
            search: None,
        };
        Ok(match attach(&request, &world, &compiled, &released, now) {
            Ok(attaching) => {
                let attachment = attaching.attachment;
                let text: Vec<String> = attachment.addrs.iter().map(IpAddr::to_string).collect();
                released.retain(|addr, _| !attachment.addrs.contains(addr));
                world.attachments.insert(attachment.key.clone(), Arc::new(attachment));
                let early = if attaching.early.is_empty() { "" } else { ", before it had rested" };
                text.join(" ") + early
            }
            Err(error) => error.to_string(),
        })
    })
}
