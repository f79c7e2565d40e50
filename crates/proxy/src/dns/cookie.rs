//! Cookies: what shows that a datagram is from where it says.
//!
//! Sources: RFC 7873, RFC 9018.

#![expect(
    deprecated,
    reason = "cookies are made by SipHash-2-4, and this is the standard library's"
)]

use std::hash::{Hasher, SipHasher};
use std::net::IpAddr;

use super::random;

/// Bytes of a client's cookie.
const CLIENT: usize = 8;

/// Bytes of both cookies.
const BOTH: usize = 24;

/// The version of our cookies, and three bytes that are reserved.
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// For how long a cookie is good, in seconds.
const LIFETIME: u32 = 3600;

/// How far ahead the clock of who made a cookie may be, in seconds.
const AHEAD: u32 = 300;

/// Makes cookies, and knows its own. Nothing is remembered of clients.
pub(super) struct Cookies {
    keys: (u64, u64),
}

impl Cookies {
    /// With a secret that nobody else has.
    pub(super) fn new() -> rustix::io::Result<Self> {
        let mut secret = [0; 16];
        random::try_fill(&mut secret)?;
        Ok(Cookies::of(u128::from_le_bytes(secret)))
    }

    fn of(secret: u128) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "one half, and the other")]
        let keys = (secret as u64, (secret >> 64) as u64);
        Cookies { keys }
    }

    /// The cookie of a client of `ip`, and ours for it at `now`, in seconds since 1970 (RFC 9018 §4).
    pub(super) fn give(&self, cookie: &[u8], ip: IpAddr, now: u32) -> Option<[u8; BOTH]> {
        let client: [u8; CLIENT] = *cookie.first_chunk()?;
        Some(self.made(client, VERSION, now, ip))
    }

    /// Whether `cookie` has one of ours that `ip` was given not long before `now`.
    pub(super) fn is_ours(&self, cookie: &[u8], ip: IpAddr, now: u32) -> bool {
        let Ok(both) = <&[u8; BOTH]>::try_from(cookie) else { return false };
        let [client, start, hash] = [0, 8, 16].map(|at| eight(both, at));
        let [v, r1, r2, r3, t1, t2, t3, t4] = start;
        // Serial numbers: they go on after the last one (RFC 1982).
        let age = now.wrapping_add(AHEAD).wrapping_sub(u32::from_be_bytes([t1, t2, t3, t4]));
        let expected = self.made(client, [v, r1, r2, r3], u32::from_be_bytes([t1, t2, t3, t4]), ip);
        v == VERSION[0] && age <= LIFETIME + AHEAD && eight(&expected, 16) == hash
    }

    fn made(&self, client: [u8; CLIENT], version: [u8; 4], at: u32, ip: IpAddr) -> [u8; BOTH] {
        let mut cookie = [0; BOTH];
        cookie[..8].copy_from_slice(&client);
        cookie[8..12].copy_from_slice(&version);
        cookie[12..16].copy_from_slice(&at.to_be_bytes());
        let mut hash = SipHasher::new_with_keys(self.keys.0, self.keys.1);
        hash.write(&cookie[..16]);
        match ip {
            IpAddr::V4(ip) => hash.write(&ip.octets()),
            IpAddr::V6(ip) => hash.write(&ip.octets()),
        }
        cookie[16..].copy_from_slice(&hash.finish().to_le_bytes());
        cookie
    }
}

fn eight(cookie: &[u8; BOTH], at: usize) -> [u8; 8] {
    std::array::from_fn(|i| cookie[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret, a client's cookie and its address; ours, and the time in it.
    type Vector = (u128, u64, &'static str, u128, u32);

    /// RFC 9018, appendix A.
    const VECTORS: [Vector; 5] = [
        (
            0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf,
            0x2464_c4ab_cf10_c957,
            "198.51.100.100",
            0x0100_0000_5cf7_9f11_1f81_30c3_eee2_9480,
            1_559_731_985,
        ),
        (
            0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf,
            0x2464_c4ab_cf10_c957,
            "198.51.100.100",
            0x0100_0000_5cf7_a871_d4a5_64a1_442a_ca77,
            1_559_734_385,
        ),
        (
            0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf,
            0xfc93_fc62_807d_db86,
            "203.0.113.203",
            0x0100_0000_5cf7_a9ac_f73a_7810_aca2_381e,
            1_559_734_700,
        ),
        (
            0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715,
            0x2268_1ab9_7d52_c298,
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            0x0100_0000_5cf7_c579_2655_6bd0_934c_72f8,
            1_559_741_817,
        ),
        (
            0x4455_36bc_d251_3298_075a_5d37_9663_c962,
            0x2268_1ab9_7d52_c298,
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            0x0100_0000_5cf7_c609_a6bb_79d1_6625_507a,
            1_559_741_961,
        ),
    ];

    #[test]
    fn cookies_are_those_of_the_rfc() {
        for (secret, client, ip, want, at) in VECTORS {
            let cookies = Cookies::of(secret.swap_bytes());
            let got = cookies.give(&client.to_be_bytes(), ip.parse().unwrap(), at).unwrap();
            assert_eq!(got[..8], client.to_be_bytes());
            assert_eq!(got[8..], want.to_be_bytes(), "{ip} at {at}");
        }
    }

    #[test]
    fn a_cookie_is_ours_for_its_client_and_its_hour() {
        let cookies = Cookies::new().unwrap();
        let [mine, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        for now in [2_000_000_000, u32::MAX - 10, 5] {
            let cookie = cookies.give(&[7; 8], mine, now).unwrap();
            for (ip, passed, is_ours) in [
                (mine, 0, true),
                (mine, 3600, true),
                (mine, 3601, false),
                (mine, u32::MAX - 299, true), // 300 s ago: our clock was put back.
                (mine, u32::MAX - 300, false),
                (other, 0, false),
            ] {
                let then = now.wrapping_add(passed);
                assert_eq!(cookies.is_ours(&cookie, ip, then), is_ours, "{ip} after {passed} s");
            }
            let mut forged = cookie;
            forged[0] ^= 1;
            assert!(!cookies.is_ours(&forged, mine, now), "another client's");
            assert!(!cookies.is_ours(&cookie[..8], mine, now), "half of it");
            assert!(!Cookies::new().unwrap().is_ours(&cookie, mine, now), "another server's");
        }
    }
}
