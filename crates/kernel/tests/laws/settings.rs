//! The place of `Plan.sysctls` under the laws.

use plan::{SysctlKey, Table};
use seaway_kernel::place;

use super::node::cable;
use super::suite::{Row, Rows, Specimen, run};

pub(crate) struct SysctlsSpecimen {
    record: std::path::PathBuf,
}

impl SysctlsSpecimen {
    pub(crate) fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let file = format!("seaway-laws-{}-{number}", std::process::id());
        SysctlsSpecimen { record: std::env::temp_dir().join(file) }
    }
}

impl Drop for SysctlsSpecimen {
    fn drop(&mut self) {
        std::fs::remove_file(&self.record).unwrap();
    }
}

impl Specimen for SysctlsSpecimen {
    type Place = place::Sysctls;

    fn prepare(&self) {
        cable();
    }

    fn open(&self) -> place::Sysctls {
        place::Sysctls::open(&self.record).unwrap()
    }

    fn tables(&self) -> Vec<Rows<Self>> {
        let table = |rows: &[(&str, &str)]| -> Table<SysctlKey, String> {
            let row = |(key, value): &(&str, &str)| (SysctlKey((*key).into()), (*value).into());
            rows.iter().map(row).collect()
        };
        vec![
            table(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]),
            table(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv4/conf/up0/rp_filter", "2"),
                ("net/ipv4/ip_local_port_range", "20000 30000"),
            ]),
        ]
    }

    fn printed(&self, key: &SysctlKey, row: &Row<Self>) -> Vec<(String, String)> {
        vec![(format!("cat /proc/sys/{}", key.0), row.clone())]
    }

    fn surroundings(&self) -> String {
        ["net/ipv4/conf/up1/rp_filter", "net/ipv4/ip_default_ttl"]
            .map(|key| run(&format!("cat /proc/sys/{key}")))
            .concat()
    }
}
