//! Which of the candidates announces an address.
//!
//! The order is MetalLB's, so that a migration moves no address: the sum of the preference weights first, then
//! the SHA-256 of `node#address`. Every node computes the same order from the same candidates; addresses
//! spread over the nodes, and the loss of one moves only its own.

use std::cmp::Reverse;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

/// A node that may announce an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// The name of the node.
    pub node: &'a str,
    /// The sum of the weights of the preferences that the node meets; 0 without any.
    pub score: i64,
}

/// The place of one candidate in the order: the least is first.
type Rank<'a> = (Reverse<i64>, [u8; 32], &'a str);

fn rank<'a>(candidate: &Candidate<'a>, address: IpAddr) -> Rank<'a> {
    let digest = Sha256::digest(format!("{}#{address}", candidate.node).as_bytes());
    (Reverse(candidate.score), digest.into(), candidate.node)
}

/// The candidate that announces `address`; `None` without candidates.
pub fn winner<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>, address: IpAddr) -> Option<&'a str> {
    candidates.into_iter().map(|c| rank(&c, address)).min().map(|(_, _, node)| node)
}

/// All candidates, the announcer of `address` first, then who follows should those before it fail.
pub fn order<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>, address: IpAddr) -> Vec<&'a str> {
    let mut ranks: Vec<Rank<'a>> = candidates.into_iter().map(|c| rank(&c, address)).collect();
    ranks.sort_unstable();
    ranks.into_iter().map(|(_, _, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates<'a>(nodes: &[(&'a str, i64)]) -> Vec<Candidate<'a>> {
        nodes.iter().map(|&(node, score)| Candidate { node, score }).collect()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("a valid address in a test")
    }

    #[test]
    fn the_order_is_that_of_metallb() {
        let all = candidates(&[("iris1", 0), ("iris2", 0), ("iris3", 0)]);
        for (ip, expected) in [
            ("10.20.30.1", ["iris3", "iris2", "iris1"]),
            ("10.20.30.2", ["iris1", "iris2", "iris3"]),
            ("10.20.30.3", ["iris1", "iris3", "iris2"]),
            ("fc00::1", ["iris3", "iris2", "iris1"]),
        ] {
            assert_eq!(order(all.clone(), address(ip)), expected, "{ip}");
            assert_eq!(winner(all.clone(), address(ip)), Some(expected[0]), "{ip}");
        }
        let two = candidates(&[("iris1", 0), ("iris2", 0)]);
        assert_eq!(winner(two.clone(), address("10.20.30.1")), Some("iris2"));
        assert_eq!(winner(two, address("10.20.30.2")), Some("iris1"));
    }

    #[test]
    fn a_higher_score_goes_before_the_hash() {
        let all = candidates(&[("iris1", 10), ("iris2", 30), ("iris3", 10)]);
        assert_eq!(order(all, address("10.20.30.1")), ["iris2", "iris3", "iris1"]);
    }

    #[test]
    fn nobody_wins_without_candidates() {
        assert_eq!(winner([], address("10.20.30.1")), None);
    }

    proptest! {
        #[test]
        fn losing_a_node_moves_only_its_own_addresses(bits: u32, lost in 0_usize..5) {
            let names = ["a", "b", "c", "d", "e"];
            let ip = IpAddr::V4(bits.into());
            let all: Vec<_> = names.iter().map(|&node| Candidate { node, score: 0 }).collect();
            let gone = *names.get(lost).expect("in range");
            let rest = all.iter().copied().filter(|c| c.node != gone);
            let before = winner(all.clone(), ip);
            let after = winner(rest, ip);
            prop_assert!(before == Some(gone) || before == after);
        }
    }
}
