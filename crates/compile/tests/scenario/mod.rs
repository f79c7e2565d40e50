//! One scenario file: its blocks, run from top to bottom.

mod input;
mod output;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;

use fixtures::paper::Network;
use model::{
    Attachment, AttachmentKey, Config, EndpointSlice, Host, Node, NodeName, OrdMap, Service,
    ServiceCidr, ServiceName, SliceKey, World,
};

/// The cluster a scenario has described so far.
#[derive(Debug, Default)]
struct Cluster {
    config: Config,
    nodes: OrdMap<NodeName, Arc<Node>>,
    services: OrdMap<ServiceName, Arc<Service>>,
    slices: OrdMap<SliceKey, Arc<EndpointSlice>>,
    service_cidrs: OrdMap<Arc<str>, Arc<ServiceCidr>>,
    hosts: BTreeMap<NodeName, Host>,
    attachments: BTreeMap<NodeName, BTreeMap<AttachmentKey, Arc<Attachment>>>,
}

impl Cluster {
    /// What the agent of `node` sees.
    fn world(&self, node: &NodeName) -> World {
        World {
            config: Config { node: node.clone(), ..self.config.clone() },
            host: self.hosts.get(node).cloned().unwrap_or_default(),
            nodes: self.nodes.clone(),
            services: self.services.clone(),
            slices: self.slices.clone(),
            service_cidrs: self.service_cidrs.clone(),
            attachments: self.attachments.get(node).cloned().unwrap_or_default(),
            ..World::default()
        }
    }

    fn network(&self) -> Network {
        Network::new(self.hosts.keys().map(|node| (node.clone(), self.world(node))))
    }
}

/// Runs `text` and returns it with every output block as it came out.
pub(crate) fn run(text: &str) -> Result<String, String> {
    let mut cluster = Cluster::default();
    let mut out = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(head) = line.strip_prefix("```") else { continue };
        let mut body = String::new();
        loop {
            let (_, line) = lines.next().ok_or(format!("line {}: block has no end", at + 1))?;
            if line == "```" {
                break;
            }
            body.push_str(line);
            body.push('\n');
        }
        let body = block(&mut cluster, head, &body).map_err(|e| format!("line {}: {e}", at + 1))?;
        out.push_str(&body);
        out.push_str("```\n");
    }
    Ok(out)
}

/// Takes an input block in, or answers an output block.
fn block(cluster: &mut Cluster, head: &str, body: &str) -> Result<String, String> {
    let mut words = head.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    let node = || -> Result<NodeName, String> {
        let named = words.first().and_then(|word| word.strip_prefix("node="));
        named.map(NodeName::from).ok_or(format!("```{kind} lacks node=NAME"))
    };
    match kind {
        "yaml" => input::objects(cluster, body)?,
        "delete" => input::delete(cluster, body),
        "config" => input::config(&mut cluster.config, body)?,
        "host" => drop(cluster.hosts.insert(node()?, input::host(body)?)),
        "attachments" => {
            drop(cluster.attachments.insert(node()?, input::attachments(body)?));
        }
        "plan" => return output::plan(&cluster.world(&node()?), &words[1..]),
        "rejected" => return Ok(output::rejected(&cluster.world(&node()?))),
        "peers" => return Ok(output::peers(&cluster.world(&node()?))),
        "services" => return Ok(output::services(&cluster.world(&node()?))),
        "explain" => {
            let name = words.get(1).and_then(|word| input::service_name(word));
            let name = name.ok_or("```explain lacks NAMESPACE/NAME")?;
            return output::explain(&cluster.world(&node()?), &name);
        }
        "packets" => return output::packets(&cluster.network(), body),
        "lease" => return output::leases(cluster.world(&node()?), body),
        _ => {} // Another language, for the reader.
    }
    Ok(body.to_owned())
}
