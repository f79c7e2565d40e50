//! What ADD returns, and what CHECK and chained plugins get back as `prevResult`.
//!
//! The shapes differ by version: up to 0.4.0 an address says its family in `version`; from 1.1.0
//! interfaces have an MTU and routes have attributes.
//!
//! Source: CNI spec 0.3.1, 0.4.0, 1.0.0 and 1.1.0, result types.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::field::Field;
use super::{Error, Version};

/// What ADD made.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct AddResult {
    /// Interfaces, inside the container and on the host.
    pub interfaces: Vec<Interface>,
    /// Addresses, in the order in which a runtime should prefer them.
    pub ips: Vec<Ip>,
    /// Routes inside the container.
    pub routes: Vec<Route>,
    /// Name servers this network knows of.
    pub dns: Dns,
}

/// An interface.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as text: other plugins' need not be Ethernet.
    pub mac: Option<String>,
    /// Its MTU, in bytes.
    pub mtu: Option<u32>,
    /// Where it is: path of the network namespace, `None` on the host.
    pub sandbox: Option<String>,
    /// A socket that stands for it (another plugin's).
    pub socket_path: Option<String>,
    /// The PCI device it is (another plugin's).
    pub pci_id: Option<String>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ip {
    /// Address and prefix length.
    pub address: IpNet,
    /// Gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// Which of the interfaces has it.
    pub interface: Option<usize>,
}

/// A route inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop.
    pub gw: Option<IpAddr>,
    /// MTU along the path, in bytes.
    pub mtu: Option<u32>,
    /// Segment size to announce, in bytes.
    pub advmss: Option<u32>,
    /// Priority; lower wins.
    pub priority: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// Scope: 0 global, 253 link, 254 host.
    pub scope: Option<u32>,
}

/// Name resolution.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers, best first.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Options for the resolver.
    pub options: Vec<String>,
}

impl AddResult {
    /// This result as the end of a chain: what earlier plugins returned stays in front, and the
    /// addresses keep pointing at their interfaces.
    #[must_use]
    pub fn after(self, previous: AddResult) -> AddResult {
        let mut chained = previous;
        let offset = chained.interfaces.len();
        chained.interfaces.extend(self.interfaces);
        let shifted = |ip: Ip| Ip { interface: ip.interface.map(|index| index + offset), ..ip };
        chained.ips.extend(self.ips.into_iter().map(shifted));
        chained.routes.extend(self.routes);
        if self.dns != Dns::default() {
            chained.dns = self.dns;
        }
        chained
    }

    /// The JSON a plugin prints.
    pub fn to_json(&self, version: Version) -> String {
        let mut object = Map::new();
        object.insert("cniVersion".into(), json!(version.as_str()));
        put_list(&mut object, "interfaces", &self.interfaces, |i| interface_to_json(i, version));
        put_list(&mut object, "ips", &self.ips, |ip| ip_to_json(ip, version));
        put_list(&mut object, "routes", &self.routes, |route| route_to_json(route, version));
        if self.dns != Dns::default() {
            object.insert("dns".into(), dns_to_json(&self.dns));
        }
        Value::Object(object).to_string()
    }

    /// Reads a result; keys it does not know are skipped.
    ///
    /// # Errors
    /// Code 7, naming the field that is not what it should be.
    pub(super) fn read(field: &Field<'_>) -> Result<Self, Error> {
        let result = AddResult {
            interfaces: list(field, "interfaces", read_interface)?,
            ips: list(field, "ips", read_ip)?,
            routes: list(field, "routes", read_route)?,
            dns: field.get("dns")?.map(|dns| read_dns(&dns)).transpose()?.unwrap_or_default(),
        };
        let interfaces = result.interfaces.len();
        if result.ips.iter().any(|ip| ip.interface.is_some_and(|index| index >= interfaces)) {
            return Err(field.wrong("a result: an address is on an interface it does not list"));
        }
        Ok(result)
    }
}

fn interface_to_json(interface: &Interface, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), json!(interface.name));
    put(&mut object, "mac", interface.mac.as_deref());
    put(&mut object, "sandbox", interface.sandbox.as_deref());
    if version >= Version::V1_1_0 {
        put(&mut object, "mtu", interface.mtu);
        put(&mut object, "socketPath", interface.socket_path.as_deref());
        put(&mut object, "pciID", interface.pci_id.as_deref());
    }
    Value::Object(object)
}

fn ip_to_json(ip: &Ip, version: Version) -> Value {
    let mut object = Map::new();
    if version < Version::V1_0_0 {
        let family = if ip.address.addr().is_ipv4() { "4" } else { "6" };
        object.insert("version".into(), json!(family));
    }
    object.insert("address".into(), json!(ip.address.to_string()));
    put(&mut object, "gateway", ip.gateway.map(|gateway| gateway.to_string()));
    put(&mut object, "interface", ip.interface);
    Value::Object(object)
}

fn route_to_json(route: &Route, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("dst".into(), json!(route.dst.to_string()));
    put(&mut object, "gw", route.gw.map(|gw| gw.to_string()));
    if version >= Version::V1_1_0 {
        put(&mut object, "mtu", route.mtu);
        put(&mut object, "advmss", route.advmss);
        put(&mut object, "priority", route.priority);
        put(&mut object, "table", route.table);
        put(&mut object, "scope", route.scope);
    }
    Value::Object(object)
}

fn dns_to_json(dns: &Dns) -> Value {
    let mut object = Map::new();
    put_list(&mut object, "nameservers", &dns.nameservers, |server| json!(server));
    put(&mut object, "domain", dns.domain.as_deref());
    put_list(&mut object, "search", &dns.search, |domain| json!(domain));
    put_list(&mut object, "options", &dns.options, |option| json!(option));
    Value::Object(object)
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.into(), value.into());
    }
}

fn put_list<T>(
    object: &mut Map<String, Value>,
    name: &str,
    items: &[T],
    to_json: impl Fn(&T) -> Value,
) {
    if !items.is_empty() {
        object.insert(name.into(), items.iter().map(to_json).collect());
    }
}

fn read_interface(field: &Field<'_>) -> Result<Interface, Error> {
    Ok(Interface {
        name: text(field, "name")?.unwrap_or_default(),
        mac: text(field, "mac")?,
        mtu: number(field, "mtu")?,
        sandbox: text(field, "sandbox")?,
        socket_path: text(field, "socketPath")?,
        pci_id: text(field, "pciID")?,
    })
}

fn read_ip(field: &Field<'_>) -> Result<Ip, Error> {
    let address = field.get("address")?.ok_or_else(|| field.wrong("an address"))?;
    let index = |index: Field<'_>| index.number::<usize>("an index into interfaces");
    Ok(Ip {
        address: address.parsed("an address with prefix length")?,
        gateway: field.get("gateway")?.map(|gateway| gateway.addr()).transpose()?,
        interface: field.get("interface")?.map(index).transpose()?,
    })
}

fn read_route(field: &Field<'_>) -> Result<Route, Error> {
    let dst = field.get("dst")?.ok_or_else(|| field.wrong("a route"))?;
    Ok(Route {
        dst: dst.parsed("a destination with prefix length")?,
        gw: field.get("gw")?.map(|gw| gw.addr()).transpose()?,
        mtu: number(field, "mtu")?,
        advmss: number(field, "advmss")?,
        priority: number(field, "priority")?,
        table: number(field, "table")?,
        scope: number(field, "scope")?,
    })
}

pub(super) fn read_dns(field: &Field<'_>) -> Result<Dns, Error> {
    let texts = |name| list(field, name, |item| item.text().map(str::to_owned));
    Ok(Dns {
        nameservers: texts("nameservers")?,
        domain: text(field, "domain")?,
        search: texts("search")?,
        options: texts("options")?,
    })
}

/// The text under `name`; none when it is empty, as Go writes absent text.
fn text(field: &Field<'_>, name: &str) -> Result<Option<String>, Error> {
    let found = field.get(name)?.map(|field| field.text().map(str::to_owned)).transpose()?;
    Ok(found.filter(|text| !text.is_empty()))
}

fn number(field: &Field<'_>, name: &str) -> Result<Option<u32>, Error> {
    field.get(name)?.map(|field| field.number("a number below 2^32")).transpose()
}

/// The elements of the list under `name`; none when it is absent.
pub(super) fn list<T>(
    field: &Field<'_>,
    name: &str,
    read: impl Fn(&Field<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let Some(items) = field.get(name)? else { return Ok(Vec::new()) };
    items.elements()?.iter().map(read).collect()
}
