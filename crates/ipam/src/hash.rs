//! A quick hash for the tables of addresses and Services.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes [`Folded`] hashers, each table's with a secret of its own: names and addresses, which users choose, cannot be
/// made to collide without knowing it.
#[derive(Clone, Debug)]
pub(crate) struct Folding(u64);

/// Hashes by multiplying to twice the width and folding the halves together, as wyhash does. The hash that the
/// standard library defaults to costs as much as all the rest of an allocation.
#[derive(Clone, Debug)]
pub(crate) struct Folded(u64);

/// An odd number whose bits are as good as random: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Another one, from the square root of 2.
const LAST_FACTOR: u64 = 0x6a09_e667_f3bc_c909;

impl Default for Folding {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0))
    }
}

impl BuildHasher for Folding {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        // Or else trailing zeros would not count.
        self.0 = self.0.wrapping_add(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.write_u64(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.write_u64(u64::from_le_bytes(last));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number, FACTOR).wrapping_add(FACTOR);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.0, LAST_FACTOR)
    }
}

fn fold(number: u64, factor: u64) -> u64 {
    let (low, high) = number.carrying_mul(factor, 0);
    high ^ low
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn neighbours_spread_over_a_table() {
        let folding = Folding::default();
        let addresses = (0..4_096_u32).map(|low| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + low)));
        let names = (0..4_096_u32).map(|number| format!("service-{number}"));
        for hashes in [
            addresses.map(|address| folding.hash_one(address)).collect::<Vec<u64>>(),
            names.map(|name| folding.hash_one(("default", name))).collect(),
        ] {
            assert_eq!(hashes.iter().collect::<BTreeSet<_>>().len(), 4_096);
            // As many places as entries: of these a random choice has 1 - 1/e in use, about 2,589.
            for places in [|hash: &u64| hash & 0xfff, |hash: &u64| hash >> 52] {
                let used = hashes.iter().map(places).collect::<BTreeSet<_>>().len();
                assert!(used > 2_400, "{used} places in use");
            }
        }
    }

    #[test]
    fn texts_that_differ_in_length_alone_differ() {
        let folding = Folding::default();
        let hash = |text: &str| folding.hash_one(text);
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("a\0"));
        assert_ne!(folding.hash_one(("ab", "c")), folding.hash_one(("a", "bc")));
    }
}
