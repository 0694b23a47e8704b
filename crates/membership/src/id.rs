//! Names of nodes and of their lives, as the wire has them.

use sha2::{Digest, Sha256};

/// A node, by the first eight bytes of the SHA-256 of its name.
///
/// Two names of one cluster that collide are as likely as a broken disk; packets stay small and of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The node of that name.
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        let head = digest.first_chunk().expect("a SHA-256 has 32 bytes");
        Self(u64::from_be_bytes(*head))
    }
}

/// One run of a speaker: a number that the driver draws at random when it starts.
///
/// A speaker that starts anew has forgotten what it promised; the others tell its lives apart by this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// A node in one of its lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: Incarnation,
}

/// A place in an order that is the same everywhere and differs for each pair: rendezvous hashing (highest random
/// weight, Thaler and Ravishankar 1998).
pub(crate) fn weight(a: NodeId, b: NodeId) -> u64 {
    mix(a.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ mix(b.0))
}

/// The finalizer of SplitMix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
