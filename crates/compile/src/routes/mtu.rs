//! The MTU of pods.

use model::{Config, Family};

/// The least MTU an IPv6 link may have, in bytes (RFC 8200 §5), and the least Seaway gives a pod.
pub const LEAST: u32 = 1280;

/// MTU of an Ethernet link when nothing is known about it, in bytes (RFC 894).
const ETHERNET: u32 = 1500;

/// A pod would be left with too small an MTU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("leaves pods an MTU of {left}, and the least is {LEAST}")]
pub struct MtuTooSmall {
    /// What would be left, in bytes.
    pub left: u32,
}

/// Largest packet, in bytes, that a pod may send when it crosses `underlay` (an MTU, in bytes):
/// as it is when `tunnel` is `None`, or inside VXLAN over that outer family.
///
/// The tunnel costs 50 bytes over IPv4 and 70 over IPv6: inner Ethernet 14, VXLAN 8, UDP 8 and the
/// outer IP header, 20 or 40. A link's MTU does not count its own Ethernet header.
///
/// # Errors
/// [`MtuTooSmall`], with what would be left, if that is under 1280 (RFC 8200 §5).
///
/// Source: RFC 7348 §5, VXLAN frame format.
pub fn pod_mtu(underlay: u32, tunnel: Option<Family>) -> Result<u32, MtuTooSmall> {
    let left = underlay.saturating_sub(match tunnel {
        None => 0,
        Some(Family::V4) => 50,
        Some(Family::V6) => 70,
    });
    if left < LEAST { Err(MtuTooSmall { left }) } else { Ok(left) }
}

/// The MTU of pods under `config`, and what of the wishes could not be met.
///
/// A configured MTU wins when it fits: smaller than derived is for paths that carry less than the
/// uplink does, larger could never arrive. Where too little is left, pods get [`LEAST`], which
/// VXLAN over IPv4 carries in fragments, and a new container is refused with the error.
pub(super) fn choose(
    config: &Config,
    underlay: Option<u32>,
    tunnel: Option<Family>,
) -> (u32, Option<Unmet>) {
    let derived = pod_mtu(underlay.unwrap_or(ETHERNET), tunnel);
    match (config.mtu, derived) {
        (None, Ok(mtu)) => (mtu, None),
        (_, Err(error)) => (LEAST, Some(Unmet::Underlay(error))),
        (Some(mtu), Ok(_)) if mtu < LEAST => {
            (LEAST, Some(Unmet::Configured(MtuTooSmall { left: mtu }.to_string())))
        }
        (Some(mtu), Ok(most)) if mtu > most && underlay.is_some() => {
            let why = format!("{mtu} is more than the {most} that fit the uplink; {most} is used");
            (most, Some(Unmet::Configured(why)))
        }
        (Some(mtu), Ok(_)) => (mtu, None),
    }
}

/// Why pods have another MTU than they should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The uplink is too small for what crosses it.
    Underlay(MtuTooSmall),
    /// The setting can't be honored.
    Configured(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tunnel_costs_fifty_bytes_over_ipv4_and_seventy_over_ipv6() {
        let cases = [
            (1500, None, Ok(1500)),
            (1500, Some(Family::V4), Ok(1450)),
            (1500, Some(Family::V6), Ok(1430)),
            (9000, Some(Family::V4), Ok(8950)),
            (1280, None, Ok(1280)),
            (1280, Some(Family::V4), Err(MtuTooSmall { left: 1230 })),
            (1329, Some(Family::V4), Err(MtuTooSmall { left: 1279 })),
            (1330, Some(Family::V4), Ok(1280)),
            (40, Some(Family::V6), Err(MtuTooSmall { left: 0 })),
        ];
        for (underlay, tunnel, want) in cases {
            assert_eq!(pod_mtu(underlay, tunnel), want, "{underlay} {tunnel:?}");
        }
    }
}
