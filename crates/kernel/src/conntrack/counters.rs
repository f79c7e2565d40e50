//! What connection tracking counts.

use std::fs;
use std::io;

use crate::sysctl;

/// What the kernel has counted since the namespace was made, and how full its table is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries that found their place taken, each a packet lost: most often a masqueraded connection
    /// for which no source port was free.
    pub insert_failed: u64,
    /// Packets lost because there was no room for their entry.
    pub dropped: u64,
    /// Entries that had to go to make room for others.
    pub evicted: u64,
    /// Entries there are.
    pub entries: u64,
    /// Entries there may be.
    pub limit: u64,
}

/// Reads the counters of the calling thread's network namespace.
///
/// # Errors
/// When the kernel tracks no connections, or does not show it under /proc.
pub fn observe() -> io::Result<Conntrack> {
    // The first thread's namespace is what /proc/net shows; a thread may be in another.
    let table = fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack")?;
    let setting = |key: &str| -> io::Result<u64> {
        let text = sysctl::read(key).map_err(io::Error::other)?;
        text.parse().map_err(io::Error::other)
    };
    Ok(Conntrack {
        insert_failed: sum(&table, "insert_failed"),
        dropped: sum(&table, "drop"),
        evicted: sum(&table, "early_drop"),
        entries: setting("net/netfilter/nf_conntrack_count")?,
        limit: setting("net/netfilter/nf_conntrack_max")?,
    })
}

/// The column called `name`, over all processors: a line of names, then a line of hexadecimal
/// numbers for each processor.
fn sum(table: &str, name: &str) -> u64 {
    let mut lines = table.lines();
    let names = lines.next().unwrap_or_default();
    let Some(column) = names.split_whitespace().position(|column| column == name) else { return 0 };
    let number = |line: &str| u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok();
    lines.filter_map(number).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_summed_over_processors_and_a_missing_one_is_zero() {
        let table = "entries drop early_drop\n00000001 0000000a 00000003\n00000001 00000010 cut";
        assert_eq!(["drop", "early_drop", "other"].map(|name| sum(table, name)), [26, 3, 0]);
        assert_eq!(sum("", "drop"), 0);
    }
}
