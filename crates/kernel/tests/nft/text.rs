//! Listings against nft's own.

use fixtures::listing::differences;
use plan::nft::list;
use seaway_kernel::nft::Nft;

use crate::connections::connections;
use crate::shapes::everything;
use crate::{BRIDGE, INET, isolated, nft, put};

#[test]
fn nft_lists_every_row_as_the_plan_prints_it_and_reading_back_gives_the_rows() {
    isolated(|| {
        let mut want = everything();
        want.extend(connections());
        let mut kernel = Nft::open().unwrap();
        put(&mut kernel, &want);
        for family in [INET, BRIDGE] {
            let theirs = nft(&format!("list table {family} seaway"));
            let [theirs, ours] = differences(&theirs, &list(&want, family));
            assert_eq!(theirs, ours, "left: nft, right: ours");
        }
    });
}
