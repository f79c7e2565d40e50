//! The configuration a plugin gets on stdin.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use model::{AttachmentKey, IfName, Mac, PortMapping, Protocol, SearchList};
use serde_json::Value;

use super::environment::is_identifier;
use super::field::Field;
use super::request::Paths;
use super::result::{list, read_dns};
use super::{AddResult, Code, Dns, Error, Version};

/// A configuration, checked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) version: Version,
    pub(super) name: String,
    pub(super) paths: Paths,
    pub(super) dns: Dns,
    pub(super) asked: Asked,
    pub(super) previous: Option<AddResult>,
    /// What GC keeps; `None` when the runtime did not say.
    pub(super) keep: Option<BTreeSet<AttachmentKey>>,
    pub(super) disable_gc: bool,
}

/// What the runtime asks for through capabilities and `args`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) addrs: Vec<IpAddr>,
    pub(super) mac: Option<Mac>,
    pub(super) port_mappings: Vec<PortMapping>,
    pub(super) search: Option<SearchList>,
}

/// The capability by which CRI runtimes tell a pod's annotations.
///
/// Source: containerd, `annotations.PodAnnotations`.
pub(super) const POD_ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// An annotation that is not `true` on a pod that wants its names looked up one by one (DNS-103).
const AUTOPATH: &str = "seaway.io/dns-autopath";

/// Reads a configuration.
///
/// Keys Seaway does not know are skipped, as chains and wrappers put their own there. `ipam` is
/// the exception: who names an IPAM plugin expects that it is asked.
///
/// # Errors
/// Code 6 when it is not JSON, 1 for the version, 2 for `ipam`, 7 for any other field.
pub(super) fn parse(stdin: &[u8]) -> Result<Conf, Error> {
    let value: Value = serde_json::from_slice(stdin)
        .map_err(|error| Error::new(Code::Undecodable, format!("configuration: {error}")))?;
    let root = Field::root(&value);
    let version = version(&root)?;
    if let Some(ipam) = root.get("ipam")?
        && ipam.get("type")?.is_some()
    {
        return Err(ipam.unsupported("Seaway leases addresses itself, from the node's pod CIDRs"));
    }
    plugin_type(&root)?;
    Ok(Conf {
        version,
        name: network_name(&root)?,
        paths: paths(&root)?,
        dns: root.get("dns")?.map(|dns| read_dns(&dns)).transpose()?.unwrap_or_default(),
        asked: asked(&root)?,
        previous: root.get("prevResult")?.map(|field| AddResult::read(&field)).transpose()?,
        keep: keep(&root)?,
        disable_gc: root.get("disableGC")?.map_or(Ok(false), |field| field.flag())?,
    })
}

/// Where the agent is, by a configuration that may be broken in every other way.
pub(super) fn paths_of(stdin: &[u8]) -> Paths {
    let value: Value = serde_json::from_slice(stdin).unwrap_or_default();
    paths(&Field::root(&value)).unwrap_or_default()
}

fn version(root: &Field<'_>) -> Result<Version, Error> {
    let text = root.get("cniVersion")?.map_or(Ok("0.1.0"), |field| field.text())?;
    text.parse().map_err(|error| {
        Error::new(Code::IncompatibleVersion, "incompatible CNI version")
            .because(format!("{error}"))
    })
}

fn network_name(root: &Field<'_>) -> Result<String, Error> {
    let missing = || Error::new(Code::InvalidConfiguration, "name: the network's name is missing");
    let field = root.get("name")?.ok_or_else(missing)?;
    let name = field.text()?;
    if is_identifier(name) {
        return Ok(name.to_owned());
    }
    Err(field.wrong("a letter or digit followed by letters, digits, '_', '.' and '-'"))
}

/// A runtime joins `type` to a directory and executes that (CVE-2021-20206).
fn plugin_type(root: &Field<'_>) -> Result<(), Error> {
    match root.get("type")? {
        Some(field) if field.text()?.contains(['/', '\\']) => {
            Err(field.wrong("the name of an executable, without '/'"))
        }
        Some(_) | None => Ok(()),
    }
}

fn paths(root: &Field<'_>) -> Result<Paths, Error> {
    let path = |name, default| match root.get(name)? {
        None => Ok(default),
        Some(field) => {
            let path = PathBuf::from(field.text()?);
            if path.is_absolute() { Ok(path) } else { Err(field.wrong("an absolute path")) }
        }
    };
    let default = Paths::default();
    Ok(Paths {
        run_dir: path("runDir", default.run_dir)?,
        state_dir: path("stateDir", default.state_dir)?,
    })
}

/// Capabilities (`runtimeConfig`) come before conventions (`args.cni`).
fn asked(root: &Field<'_>) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    if let Some(runtime) = root.get("runtimeConfig")? {
        asked.addrs = list(&runtime, "ips", |ip| ip.addr())?;
        asked.mac = mac(&runtime)?;
        let mappings = list(&runtime, "portMappings", port_mapping)?;
        asked.port_mappings = mappings.into_iter().flatten().collect();
        asked.search = search(&runtime)?;
    }
    if asked.addrs.is_empty()
        && let Some(args) = root.get("args")?
        && let Some(conventions) = args.get("cni")?
    {
        asked.addrs = list(&conventions, "ips", |ip| ip.addr())?;
    }
    Ok(asked)
}

/// Where the container looks for names, unless its pod wants no help with that.
///
/// Source: CNI conventions, capability `dns`; containerd `toCNIDNS`, which has it of the kubelet.
fn search(runtime: &Field<'_>) -> Result<Option<SearchList>, Error> {
    let Some(dns) = runtime.get("dns")? else { return Ok(None) };
    let owned = |field: &Field<'_>| field.text().map(str::to_owned);
    let domains = list(&dns, "searches", owned)?;
    let options = list(&dns, "options", owned)?;
    let annotation = match runtime.get(POD_ANNOTATIONS)? {
        Some(annotations) => annotations.get(AUTOPATH)?,
        None => None,
    };
    let is_wanted =
        annotation.map_or(Ok(true), |wanted| wanted.text().map(|text| text == "true"))?;
    Ok(SearchList::new(&domains, &options).filter(|_| is_wanted))
}

fn mac(runtime: &Field<'_>) -> Result<Option<Mac>, Error> {
    match runtime.get("mac")? {
        Some(field) if !field.text()?.is_empty() => field.parsed("a hardware address").map(Some),
        Some(_) | None => Ok(None),
    }
}

/// One `hostPort`; `None` for host port 0, which asks for nothing.
///
/// The unspecified address stands for every address of the node, as in a Pod's `hostIP`.
fn port_mapping(field: &Field<'_>) -> Result<Option<PortMapping>, Error> {
    let port = |name| match field.get(name)? {
        Some(port) => port.number::<u16>("a port"),
        None => Ok(0),
    };
    let (host_port, container_port) = (port("hostPort")?, port("containerPort")?);
    if host_port == 0 {
        return Ok(None);
    }
    if container_port == 0 {
        return Err(field.wrong("a port mapping: containerPort is missing"));
    }
    let protocol = match field.get("protocol")? {
        Some(name) if !name.text()?.is_empty() => name.parsed("TCP, UDP or SCTP")?,
        Some(_) | None => Protocol::Tcp,
    };
    let host_ip = match field.get("hostIP")? {
        Some(ip) if !ip.text()?.is_empty() => Some(ip.parsed::<IpAddr>("an IP address")?),
        Some(_) | None => None,
    };
    let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
    Ok(Some(PortMapping { host_port, container_port, protocol, host_ip }))
}

/// What GC keeps: the union of the key of the specification and the one libcni also writes.
///
/// A key with null is an empty list, because that is how libcni writes one. An entry that could not
/// have been an attachment of Seaway's keeps nothing.
fn keep(root: &Field<'_>) -> Result<Option<BTreeSet<AttachmentKey>>, Error> {
    let mut keep = None;
    for name in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let Some(field) = root.present(name)? else { continue };
        let keys = keep.get_or_insert_with(BTreeSet::new);
        for entry in field.elements()? {
            let part = |name| match entry.get(name)? {
                Some(field) => field.text(),
                None => Err(entry.wrong("an attachment with containerID and ifname")),
            };
            let (container_id, ifname) = (part("containerID")?.into(), part("ifname")?);
            keys.extend(
                IfName::new(ifname).ok().map(|ifname| AttachmentKey { container_id, ifname }),
            );
        }
    }
    Ok(keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line: what the runtime tells, and whether a pod is helped with its search list.
    #[test]
    fn dns101_dns103_a_search_list_is_what_the_runtime_tells_unless_the_pod_opts_out() {
        let dns = r#""dns": {"searches": ["ns.svc.cluster.local"], "options": ["ndots:5"]}"#;
        let annotations = |value: &str| {
            format!(
                r#"{{{dns}, "io.kubernetes.cri.pod-annotations": {{"seaway.io/dns-autopath": {value}}}}}"#
            )
        };
        let cases = [
            (format!("{{{dns}}}"), true),
            (format!(r#"{{{dns}, "io.kubernetes.cri.pod-annotations": null}}"#), true),
            (annotations(r#""true""#), true),
            (annotations(r#""false""#), false),
            (annotations(r#""off""#), false),
            ("{}".to_owned(), false),
            (r#"{"dns": null}"#.to_owned(), false),
            (r#"{"dns": {"servers": ["10.96.0.10"], "searches": null}}"#.to_owned(), false),
            (r#"{"dns": {"searches": ["a..b"]}}"#.to_owned(), false),
        ];
        for (runtime, is_helped) in cases {
            let text =
                format!(r#"{{"cniVersion": "1.0.0", "name": "n", "runtimeConfig": {runtime}}}"#);
            let conf = parse(text.as_bytes()).unwrap();
            assert_eq!(conf.asked.search.is_some(), is_helped, "{runtime}");
        }
    }
}
