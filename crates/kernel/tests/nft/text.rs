//! Listings against nft's own.

use std::collections::BTreeSet;

use plan::nft::list;
use seaway_kernel::nft::Nft;

use crate::shapes::everything;
use crate::{BRIDGE, INET, isolated, nft, put};

/// Blocks of a listing, with the elements of sets in one order and counters left away.
fn blocks(listing: &str) -> BTreeSet<String> {
    let counted = listing.replace(" packets 0 bytes 0", "");
    let table = counted.trim_end().trim_end_matches('}');
    table
        .split("\n\n")
        .map(|block| {
            let Some((head, rest)) = block.split_once("elements = { ") else {
                return block.trim_end().to_owned();
            };
            let (elements, tail) = rest.split_once(" }\n").unwrap();
            let mut elements: Vec<_> = elements.split(',').map(str::trim).collect();
            elements.sort_unstable();
            format!("{head}elements = {{ {} }}\n{}", elements.join(", "), tail.trim_end())
        })
        .collect()
}

#[test]
fn nft_lists_every_row_as_the_plan_prints_it_and_reading_back_gives_the_rows() {
    isolated(|| {
        let want = everything();
        let mut kernel = Nft::open().unwrap();
        put(&mut kernel, &want);
        for family in [INET, BRIDGE] {
            let (theirs, ours) = (nft(&format!("list table {family} seaway")), list(&want, family));
            let (theirs, ours) = (blocks(&theirs), blocks(&ours));
            let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
                a.difference(b).cloned().collect::<Vec<_>>().join("\n\n")
            };
            assert_eq!(only(&theirs, &ours), only(&ours, &theirs), "left: nft, right: ours");
        }
    });
}
