//! Ranges of addresses without their exceptions.

use ipnet::IpNet;
use model::IpBlock;

/// The addresses of all `blocks` as ranges in order, of which none overlaps with another.
pub(super) fn disjoint<'a>(blocks: impl IntoIterator<Item = &'a IpBlock>) -> Vec<IpNet> {
    let all = blocks.into_iter().flat_map(|block| {
        let mut rest = vec![block.cidr];
        for except in &block.except {
            rest = rest.into_iter().flat_map(|net| without(net, *except)).collect();
        }
        rest
    });
    IpNet::aggregate(&all.collect())
}

/// `net` without `except`: one half after the other, as long as `except` is in one of them.
fn without(mut net: IpNet, except: IpNet) -> Vec<IpNet> {
    if except.contains(&net) {
        return Vec::new();
    }
    let mut rest = Vec::new();
    while net != except && net.contains(&except) {
        let Ok(halves) = net.subnets(net.prefix_len() + 1) else { break };
        for half in halves {
            if half.contains(&except) {
                net = half;
            } else {
                rest.push(half);
            }
        }
    }
    if net != except {
        rest.push(net);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, except: &[&str]) -> IpBlock {
        let except = except.iter().map(|net| net.parse().unwrap()).collect();
        IpBlock { cidr: cidr.parse().unwrap(), except }
    }

    #[test]
    fn exceptions_are_cut_out_and_what_is_left_is_joined() {
        let cases: [(&[IpBlock], &[&str]); 7] = [
            (&[block("10.0.0.0/8", &[])], &["10.0.0.0/8"]),
            (&[block("10.0.0.0/30", &["10.0.0.1/32"])], &["10.0.0.0/32", "10.0.0.2/31"]),
            (&[block("10.0.0.0/8", &["10.0.0.0/8"])], &[]),
            (&[block("10.0.0.0/30", &["10.0.0.0/31", "10.0.0.1/32"])], &["10.0.0.2/31"]),
            (
                &[block("10.0.0.0/30", &["10.0.0.1/32"]), block("10.0.0.1/32", &[])],
                &["10.0.0.0/30"],
            ),
            (&[block("0.0.0.0/0", &["128.0.0.0/1"]), block("::/0", &[])], &["0.0.0.0/1", "::/0"]),
            (&[block("fd00::/126", &["fd00::3/128"])], &["fd00::/127", "fd00::2/128"]),
        ];
        for (blocks, want) in cases {
            let want: Vec<IpNet> = want.iter().map(|net| net.parse().unwrap()).collect();
            assert_eq!(disjoint(blocks), want, "{blocks:?}");
        }
    }
}
