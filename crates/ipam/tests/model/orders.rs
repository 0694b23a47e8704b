//! What does not depend on the order in which Services come.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipam::{Allocator, Families, Labels, Request, Sharing};
use net::Family;
use proptest::prelude::*;

use crate::drawn::{Ask, ask, pools};

/// Services, and an order in which they come.
fn asks() -> impl Strategy<Value = (Vec<Ask>, Vec<usize>)> {
    prop::collection::vec(ask(), 1..12).prop_flat_map(|asks| {
        let order: Vec<usize> = (0..asks.len()).collect();
        (Just(asks), Just(order).prop_shuffle())
    })
}

/// Who has what.
fn held(allocator: &Allocator<usize>) -> BTreeMap<usize, Vec<IpAddr>> {
    allocator.services().map(|(key, has)| (*key, has.addresses.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_adoption_makes_no_difference_to_what_follows(pools in pools(), (asks, order) in asks(), next in ask()) {
        let mut one = Allocator::new();
        one.set_pools(pools.clone());
        for (key, ask) in asks.iter().enumerate() {
            one.allocate(&key, ask.subject(), ask.request()).ok();
        }
        let had = held(&one);
        let mut other = Allocator::new();
        other.set_pools(pools.into_iter().rev());
        for key in order.iter().filter(|key| had.contains_key(key)) {
            let adopted = other.adopt(key, asks[*key].subject(), &had[key]).map(|has| has.addresses.clone());
            prop_assert_eq!(adopted.as_ref(), Ok(&had[key]));
        }
        prop_assert_eq!(held(&other), had);
        // Tables that are equal answer alike.
        let (newcomer, leaver) = (asks.len(), order[0]);
        for allocator in [&mut one, &mut other] {
            allocator.release(&leaver);
            allocator.allocate(&newcomer, next.subject(), next.request()).ok();
        }
        prop_assert_eq!(held(&one), held(&other));
    }

    #[test]
    fn services_that_ask_for_addresses_of_their_own_get_them_in_any_order(pools in pools(), (asks, order) in asks()) {
        // Each asks for something that nobody before it asks for.
        let mut taken = BTreeSet::new();
        let asks: Vec<Ask> = asks.into_iter().map(|mut ask| {
            ask.addresses.retain(|address| taken.insert(*address));
            ask
        }).collect();
        let given = |order: &[usize]| {
            let mut allocator = Allocator::new();
            allocator.set_pools(pools.clone());
            for key in order.iter().filter(|key| !asks[**key].addresses.is_empty()) {
                allocator.allocate(key, asks[*key].subject(), asks[*key].request()).ok();
            }
            held(&allocator)
        };
        prop_assert_eq!(given(&(0..asks.len()).collect::<Vec<_>>()), given(&order));
    }

    #[test]
    fn services_that_differ_in_nothing_get_the_same_addresses_in_any_order(
        pools in pools(), count in 1_usize..20, v6: bool, gone in prop::collection::vec(0_usize..20, 0..6),
    ) {
        let families = Families::One(if v6 { Family::V6 } else { Family::V4 });
        let none = Labels::new();
        let (sharing, ports) = (Sharing::default(), BTreeSet::new());
        let subject = ipam::Subject {
            namespace: "default", namespace_labels: &none, labels: &none, sharing: &sharing, ports: &ports,
        };
        let request = Request { families, pool: None, addresses: &[] };
        let used = |keys: Vec<usize>| {
            let mut allocator = Allocator::new();
            allocator.set_pools(pools.clone());
            for key in keys {
                allocator.allocate(&key, subject, request).ok();
            }
            // Whoever comes back gets the lowest place again.
            for key in &gone {
                allocator.release(key);
            }
            for key in &gone {
                allocator.allocate(key, subject, request).ok();
            }
            held(&allocator).into_values().flatten().collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(used((0..count).collect()), used((0..count).rev().collect()));
    }
}
