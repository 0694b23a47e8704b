//! Which addresses of a range are in use, without a list of them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use net::{Family, IpRange};

use crate::pool::is_buggy;

/// The usable addresses of one range, numbered from 0 without gaps, and those of them that are in use.
///
/// Numbers in use are kept as runs of neighbours, so that a range costs memory for its fragments only and its lowest
/// free address is next to its first run: a pool of 2^64 addresses is as cheap as one of 16.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    range: IpRange,
    /// Whether addresses that end in .0 and .255 have no number.
    avoid_buggy: bool,
    /// What number 0 would be if the whole family were numbered in the same way.
    base: u128,
    /// The highest number; `None` where nothing in the range is usable.
    last: Option<u128>,
    /// First number of a run in use -> its last number. Runs neither overlap nor touch.
    used: BTreeMap<u128, u128>,
}

/// Usable addresses in a block of 256.
const USABLE: u128 = 254;

impl Slots {
    pub(crate) fn new(range: IpRange, avoid_buggy_ips: bool) -> Self {
        let avoid_buggy = avoid_buggy_ips && range.family() == Family::V4;
        let (first, last) = (bits(range.first()), bits(range.last()));
        let (base, last) = if avoid_buggy {
            let base = usable_below(first);
            (base, (usable_below(last + 1) - base).checked_sub(1))
        } else {
            (first, Some(last - first))
        };
        Self { range, avoid_buggy, base, last, used: BTreeMap::new() }
    }

    /// The family of the addresses.
    pub(crate) fn family(&self) -> Family {
        self.range.family()
    }

    /// How many addresses are usable; all of `::/0` count as one less than they are.
    pub(crate) fn len(&self) -> u128 {
        self.last.map_or(0, |last| last.saturating_add(1))
    }

    /// The number of an address; `None` for one that is outside or not usable.
    pub(crate) fn number(&self, address: IpAddr) -> Option<u128> {
        if !self.range.contains(address) || (self.avoid_buggy && is_buggy(address)) {
            return None;
        }
        let bits = bits(address);
        Some(if self.avoid_buggy { usable_below(bits) } else { bits } - self.base)
    }

    /// The address of a number. Only numbers that come from here have one in the range.
    pub(crate) fn address(&self, number: u128) -> IpAddr {
        let number = self.base.saturating_add(number);
        let bits = if self.avoid_buggy { (number / USABLE) * 256 + number % USABLE + 1 } else { number };
        match self.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    /// The lowest number that is not in use.
    pub(crate) fn lowest_free(&self) -> Option<u128> {
        let last = self.last?;
        match self.used.first_key_value() {
            Some((0, &end)) => (end < last).then(|| end + 1),
            _ => Some(0),
        }
    }

    /// Takes a number into use. False where it was.
    pub(crate) fn take(&mut self, number: u128) -> bool {
        // Where the number is in use already, no run begins behind it.
        let end = number.checked_add(1).and_then(|next| self.used.remove(&next)).unwrap_or(number);
        match self.used.range_mut(..=number).next_back() {
            Some((_, last)) if number <= *last => return false,
            Some((_, last)) if *last + 1 == number => *last = end,
            _ => {
                self.used.insert(number, end);
            }
        }
        true
    }

    /// Gives a number back. False where it was not in use.
    pub(crate) fn give_back(&mut self, number: u128) -> bool {
        let Some((&start, &end)) = self.used.range(..=number).next_back().filter(|(_, end)| number <= **end)
        else {
            return false;
        };
        if start == number {
            self.used.remove(&start);
        } else {
            self.used.insert(start, number - 1);
        }
        if number < end {
            self.used.insert(number + 1, end);
        }
        true
    }
}

/// How many IPv4 addresses below this one end neither in .0 nor in .255.
fn usable_below(bits: u128) -> u128 {
    (bits / 256) * USABLE + (bits % 256).saturating_sub(1)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn slots(range: &str, avoid_buggy_ips: bool) -> Slots {
        Slots::new(range.parse().expect("a range in a test"), avoid_buggy_ips)
    }

    #[test]
    fn the_usable_addresses_are_counted() {
        for (range, avoid, count) in [
            ("10.0.0.0/24", false, 256),
            ("10.0.0.0/24", true, 254),
            ("10.0.0.128/25", true, 127),
            ("10.0.0.0/31", true, 1),
            ("10.0.0.254/31", true, 1),
            ("10.0.0.255-10.0.1.0", true, 0),
            ("10.0.0.255/32", true, 0),
            ("0.0.0.0/0", true, 254 << 24),
            ("2001:db8::/127", true, 2),
            ("2001:db8::/64", false, 1 << 64),
            ("::/0", false, u128::MAX),
        ] {
            assert_eq!(slots(range, avoid).len(), count, "{range} {avoid}");
        }
    }

    #[test]
    fn a_range_without_usable_addresses_has_none_free() {
        assert_eq!(slots("10.0.0.255-10.0.1.0", true).lowest_free(), None);
    }

    #[test]
    fn the_ends_of_the_largest_range_can_be_taken_and_given_back() {
        let mut slots = slots("::/0", false);
        for number in [u128::MAX, 0, u128::MAX - 1] {
            assert!(slots.take(number));
            assert!(!slots.take(number));
            assert_eq!(slots.number(slots.address(number)), Some(number));
        }
        assert_eq!(slots.lowest_free(), Some(1));
        assert!(slots.give_back(u128::MAX));
        assert!(!slots.give_back(u128::MAX));
        assert!(slots.take(u128::MAX));
    }

    proptest! {
        #[test]
        fn every_usable_address_has_one_number_and_they_are_in_order(
            first in 0_u32..2_000, size in 0_u32..1_200, avoid: bool,
        ) {
            let (first, last) = (Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(first + size));
            let range = IpRange::new(first.into(), last.into()).expect("in order");
            let slots = Slots::new(range, avoid);
            let usable: Vec<IpAddr> = (first.to_bits()..=last.to_bits())
                .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
                .filter(|address| !(avoid && is_buggy(*address)))
                .collect();
            prop_assert_eq!(slots.len(), usable.len() as u128);
            for (number, address) in usable.iter().enumerate() {
                prop_assert_eq!(slots.number(*address), Some(number as u128));
                prop_assert_eq!(slots.address(number as u128), *address);
            }
        }

        #[test]
        fn runs_say_the_same_as_a_set(steps in prop::collection::vec((any::<bool>(), 0_u128..40), 0..200)) {
            let mut slots = slots("10.0.0.0-10.0.0.39", false);
            let mut set = BTreeSet::new();
            for (take, number) in steps {
                if take {
                    prop_assert_eq!(slots.take(number), set.insert(number));
                } else {
                    prop_assert_eq!(slots.give_back(number), set.remove(&number));
                }
                prop_assert_eq!(slots.lowest_free(), (0..40).find(|number| !set.contains(number)));
                let runs: Vec<(u128, u128)> = slots.used.iter().map(|(&start, &end)| (start, end)).collect();
                for pair in runs.windows(2) {
                    prop_assert!(pair[0].1 + 1 < pair[1].0, "{:?} touch", pair);
                }
            }
        }
    }
}
