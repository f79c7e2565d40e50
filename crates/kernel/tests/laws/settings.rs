//! The place of `Plan.sysctls` under the laws.

use plan::{Setting, SysctlKey, Table};
use seaway_kernel::place;

use super::node::cable;
use super::suite::{Row, Rows, Specimen, run};

/// A setting that is to be no less than a number: a time in seconds, 432,000 at first.
const LEAST: &str = "net/netfilter/nf_conntrack_tcp_timeout_established";

/// One that only the first network namespace may write.
const LIMIT: &str = "net/netfilter/nf_conntrack_max";

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
        let table = |rows: &[(&str, &str)]| -> Table<SysctlKey, Setting> {
            let row = |(key, value): &(&str, &str)| {
                let setting = match value.strip_prefix(">= ") {
                    Some(least) => Setting::AtLeast(least.parse().unwrap()),
                    None => (*value).into(),
                };
                (SysctlKey((*key).into()), setting)
            };
            rows.iter().map(row).collect()
        };
        vec![
            table(&[("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")]),
            table(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv4/conf/up0/rp_filter", "2"),
                ("net/ipv4/ip_local_port_range", "20000 30000"),
                (LEAST, ">= 1000000"),
                (LIMIT, ">= 4000000000"),
            ]),
            table(&[(LEAST, ">= 100"), (LIMIT, ">= 1")]),
            table(&[(LEAST, ">= 900000")]),
        ]
    }

    fn printed(&self, key: &SysctlKey, row: &Row<Self>) -> Vec<(String, String)> {
        let value = match row {
            Setting::Is(value) => value.clone(),
            // It was more than 100, and stayed; the other is not this namespace's to write.
            Setting::AtLeast(least) if key.0 == LEAST && *least > 100 => least.to_string(),
            Setting::AtLeast(_) => run(&format!("cat /proc/sys/{}", key.0)),
        };
        vec![(format!("cat /proc/sys/{}", key.0), value)]
    }

    fn surroundings(&self) -> String {
        ["net/ipv4/conf/up1/rp_filter", "net/ipv4/ip_default_ttl", LIMIT]
            .map(|key| run(&format!("cat /proc/sys/{key}")))
            .concat()
    }
}
