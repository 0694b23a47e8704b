//! The lowest address that a Service can share.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::request::Port;
use crate::spot::Spot;

/// The addresses of one pool and family that are shared under the same conditions, and the ports in use there.
///
/// The addresses that have a port in use are kept as runs of neighbours among the addresses of the group. So the
/// lowest one without a certain port is found in O(log n), also where thousands of Services have the same port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    spots: BTreeMap<Spot, BTreeSet<Port>>,
    /// Port -> the first of a run of addresses that have it in use -> the last one. Runs do not touch.
    runs: BTreeMap<Port, BTreeMap<Spot, Spot>>,
}

impl Group {
    pub(crate) fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    /// The lowest address at which none of the ports is in use.
    pub(crate) fn lowest_without(&self, ports: &BTreeSet<Port>) -> Option<Spot> {
        let mut spot = *self.spots.first_key_value()?.0;
        while let Some(last) = ports.iter().find_map(|port| self.run_at(*port, spot)) {
            spot = self.after(last)?;
        }
        Some(spot)
    }

    /// Adds an address, or ports to one that is here.
    pub(crate) fn add(&mut self, spot: Spot, ports: &BTreeSet<Port>) {
        if !self.spots.contains_key(&spot) {
            // The newcomer, which has no ports yet, comes between its neighbours.
            for port in self.common_to_neighbours(spot) {
                self.cut(port, spot);
            }
            self.spots.insert(spot, BTreeSet::new());
        }
        let (before, after) = (self.before(spot), self.after(spot));
        for &port in ports {
            if !self.spots.entry(spot).or_default().insert(port) {
                continue;
            }
            let runs = self.runs.entry(port).or_default();
            let first = before.and_then(|before| run_at(runs, before)).map_or(spot, |(first, _)| first);
            let last = after.and_then(|after| runs.remove(&after)).unwrap_or(spot);
            runs.insert(first, last);
        }
    }

    /// Takes ports away from an address.
    pub(crate) fn remove(&mut self, spot: Spot, ports: &BTreeSet<Port>) {
        for &port in ports {
            if self.spots.get_mut(&spot).is_some_and(|ports| ports.remove(&port)) {
                self.cut(port, spot);
            }
        }
    }

    /// Takes an address out of the group.
    pub(crate) fn leave(&mut self, spot: Spot) {
        for port in self.spots.remove(&spot).unwrap_or_default() {
            self.cut(port, spot);
        }
        let (Some(before), Some(after)) = (self.before(spot), self.after(spot)) else { return };
        for port in self.common_to_neighbours(spot) {
            let Some(runs) = self.runs.get_mut(&port) else { continue };
            if let Some((first, _)) = run_at(runs, before)
                && let Some(last) = runs.remove(&after)
            {
                runs.insert(first, last);
            }
        }
    }

    /// Ends the run of a port before a place and begins another one behind it.
    fn cut(&mut self, port: Port, spot: Spot) {
        let (before, after) = (self.before(spot), self.after(spot));
        let Some(runs) = self.runs.get_mut(&port) else { return };
        let Some((first, last)) = run_at(runs, spot) else { return };
        runs.remove(&first);
        if let Some(before) = before.filter(|before| first <= *before) {
            runs.insert(first, before);
        }
        if let Some(after) = after.filter(|after| *after <= last) {
            runs.insert(after, last);
        }
        if runs.is_empty() {
            self.runs.remove(&port);
        }
    }

    /// The ports in use at both neighbours of a place.
    fn common_to_neighbours(&self, spot: Spot) -> Vec<Port> {
        let ports = |neighbour: Option<Spot>| neighbour.and_then(|spot| self.spots.get(&spot));
        match (ports(self.before(spot)), ports(self.after(spot))) {
            (Some(before), Some(after)) => before.intersection(after).copied().collect(),
            _ => Vec::new(),
        }
    }

    fn before(&self, spot: Spot) -> Option<Spot> {
        self.spots.range(..spot).next_back().map(|(spot, _)| *spot)
    }

    fn after(&self, spot: Spot) -> Option<Spot> {
        self.spots.range((Excluded(spot), Unbounded)).next().map(|(spot, _)| *spot)
    }

    /// The last address of the run that an address is in, where the port is in use there.
    fn run_at(&self, port: Port, spot: Spot) -> Option<Spot> {
        run_at(self.runs.get(&port)?, spot).map(|(_, last)| last)
    }
}

fn run_at(runs: &BTreeMap<Spot, Spot>, spot: Spot) -> Option<(Spot, Spot)> {
    let (&first, &last) = runs.range(..=spot).next_back()?;
    (spot <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::Protocol;

    fn spot(number: u128) -> Spot {
        Spot { pool: 0, range: 0, number }
    }

    fn ports(bits: u8) -> BTreeSet<Port> {
        (0..4)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(|number| Port { protocol: Protocol::Tcp, number })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_lowest_address_is_the_one_that_a_linear_scan_finds(
            steps in prop::collection::vec((0_u8..3, 0_u128..12, 0_u8..16), 0..80),
        ) {
            let (mut group, mut plain) = (Group::default(), BTreeMap::<u128, BTreeSet<Port>>::new());
            for (kind, number, bits) in steps {
                let changed = ports(bits);
                match kind {
                    0 => {
                        group.add(spot(number), &changed);
                        plain.entry(number).or_default().extend(changed);
                    }
                    1 => {
                        group.remove(spot(number), &changed);
                        plain.entry(number).and_modify(|ports| ports.retain(|port| !changed.contains(port)));
                    }
                    _ => {
                        group.leave(spot(number));
                        plain.remove(&number);
                    }
                }
                prop_assert_eq!(group.is_empty(), plain.is_empty());
                for bits in 0..16 {
                    let asked = ports(bits);
                    let scan = plain.iter().find(|(_, used)| used.is_disjoint(&asked)).map(|(number, _)| spot(*number));
                    prop_assert_eq!(group.lowest_without(&asked), scan);
                }
                for runs in group.runs.values() {
                    prop_assert!(!runs.is_empty());
                }
            }
        }
    }
}
