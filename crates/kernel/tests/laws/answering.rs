//! Specimen of addresses that the node answers for.

use plan::NeighborKey;
use seaway_kernel::place;

use super::node::{cable, ip, name};
use super::suite::{Rows, Specimen, run};

pub(crate) struct ProxiesSpecimen;

impl Specimen for ProxiesSpecimen {
    type Place = place::Proxies;

    fn prepare(&self) {
        cable();
        run("ip neigh add proxy 192.0.2.78 dev up0");
        run("ip -6 neigh add proxy 2001:db8::78 dev up0 protocol 4");
        run("ip neigh add 10.244.1.2 lladdr 02:00:00:00:00:78 dev up0 nud permanent");
    }

    fn open(&self) -> place::Proxies {
        place::Proxies::open().unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let row = |addr: &str| (NeighborKey { dev: name("up0"), addr: ip(addr) }, ());
        vec![
            [row("10.244.1.2"), row("fd00:10:244:1::2")].into_iter().collect(),
            [row("10.244.1.2"), row("10.244.1.3")].into_iter().collect(),
        ]
    }

    fn printed(&self, key: &NeighborKey, (): &()) -> Vec<(String, String)> {
        vec![("ip neigh show proxy".to_owned(), format!("{key} proxy proto 83"))]
    }

    fn surroundings(&self) -> String {
        ["ip neigh show proxy", "ip -6 neigh show proxy", "ip neigh show nud permanent"]
            .map(run)
            .concat()
    }
}
