//! The allocator against one so slow and plain that it is obviously right.

mod drawn;
mod orders;
mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use drawn::{Ask, Step, pools, step};
use ipam::{Allocator, Families, Usage, Waiter};
use net::Family;
use plain::Model;
use proptest::prelude::*;

/// Both, and what each Service last came with: what a restart finds in the cluster.
#[derive(Default)]
struct Both {
    allocator: Allocator<u8>,
    model: Model,
    asks: BTreeMap<u8, Ask>,
}

impl Both {
    fn take(&mut self, step: Step) {
        let Self { allocator, model, asks } = self;
        match step {
            Step::Pools(pools) => {
                allocator.set_pools(pools.clone());
                model.set_pools(pools);
            }
            Step::Release(key) => {
                self.stop_waiting(key);
                self.allocator.release(&key);
                self.model.held.remove(&key);
            }
            Step::Allocate(key, ask) => {
                allocator.allocate(&key, ask.subject(), ask.request()).ok();
                model.allocate(key, &ask);
                asks.insert(key, ask);
                self.stop_waiting(key);
            }
            Step::Adopt(key, ask) => {
                allocator.adopt(&key, ask.subject(), &ask.addresses).ok();
                if model.adopt(key, &ask, &ask.addresses) {
                    asks.insert(key, ask);
                }
                self.stop_waiting(key);
            }
            Step::Change(key, mut ask) => {
                let held = model.held.get(&key).map(|held| held.addresses.clone());
                ask.addresses = held.unwrap_or_default();
                self.take(Step::Adopt(key, ask));
            }
            Step::Extend(key, ask) => {
                if allocator.extend(&key, ask.subject()).is_ok() {
                    asks.insert(key, ask.clone());
                }
                model.extend(key, &ask);
                self.stop_waiting(key);
            }
            Step::Wait(key, since, ask) => self.wait(key, since, ask),
            Step::Restart(order) => self.restart(&order),
        }
    }

    fn stop_waiting(&mut self, key: u8) {
        self.allocator.stop_waiting(&key);
        self.model.waiting.remove(&key);
    }

    /// Who has an address can only wait for the other one.
    fn wait(&mut self, key: u8, since: i64, mut ask: Ask) {
        if let Some(held) = self.model.held.get(&key) {
            let &[address] = held.addresses.as_slice() else { return };
            ask.addresses.clear();
            ask.families = Families::One(Family::of(address).other());
            ask.pool = Some(held.pool.clone());
        }
        self.allocator.wait(&key, since, ask.subject(), ask.request());
        self.model.waiting.insert(key, (since, ask));
    }

    /// The controller starts anew, and the Services come in this order with what they have. Some of them new pools
    /// have left where they were though they do not fit: they lose it now.
    fn restart(&mut self, order: &[u8]) {
        let mut anew = Allocator::new();
        anew.set_pools(self.model.pools.clone());
        for key in order {
            let Some(held) = self.model.held.get(key) else { continue };
            let ask = &self.asks[key];
            let pool = self.model.pools.iter().find(|pool| pool.name == held.pool).expect("in force");
            let adopted = anew.adopt(key, ask.subject(), &held.addresses).map(|has| has.pool.to_string());
            if ask.fits(pool) {
                assert_eq!(adopted.as_deref(), Ok(&*held.pool));
            } else {
                assert!(adopted.is_err());
                self.model.held.remove(key);
            }
        }
        self.model.waiting.clear();
        self.allocator = anew;
    }

    /// Whether both know the same, about Services, pools, and addresses.
    fn compare(&self) -> Result<(), TestCaseError> {
        let Self { allocator, model, .. } = self;
        let held: BTreeMap<u8, (String, Vec<IpAddr>)> = allocator
            .services()
            .map(|(key, has)| (*key, (has.pool.to_string(), has.addresses.clone())))
            .collect();
        let expected: BTreeMap<u8, (String, Vec<IpAddr>)> =
            model.held.iter().map(|(key, has)| (*key, (has.pool.clone(), has.addresses.clone()))).collect();
        prop_assert_eq!(held, expected);
        for pool in &model.pools {
            let all = Model::addresses(pool);
            let used: BTreeSet<IpAddr> = model
                .held
                .values()
                .filter(|held| held.pool == pool.name)
                .flat_map(|held| held.addresses.iter().copied())
                .collect();
            prop_assert!(used.iter().all(|address| all.contains(address)), "outside of the pool");
            let of = |family| move |address: &&IpAddr| Family::of(**address) == family;
            let [v4, v6] = [Family::V4, Family::V6].map(|family| all.iter().filter(of(family)).count());
            let [used_v4, used_v6] =
                [Family::V4, Family::V6].map(|family| used.iter().filter(of(family)).count() as u64);
            let usage = Usage { total_v4: v4 as u128, total_v6: v6 as u128, used_v4, used_v6 };
            prop_assert_eq!(allocator.usage(&pool.name), Some(usage));
            for address in all {
                prop_assert_eq!(allocator.in_use(address), used.contains(&address));
                prop_assert_eq!(named(allocator, address), model.named(address), "named for {}", address);
            }
        }
        self.nobody_shares_against_the_rules()
    }

    /// The plain allocator could be wrong too: this looks at the outcome alone.
    fn nobody_shares_against_the_rules(&self) -> Result<(), TestCaseError> {
        let services: Vec<_> = self.allocator.services().collect();
        for (place, (one, has)) in services.iter().enumerate() {
            for (other, other_has) in &services[place + 1..] {
                if has.addresses.iter().all(|address| !other_has.addresses.contains(address)) {
                    continue;
                }
                let conditions = |key: &u8| self.allocator.conditions(key).expect("it has an address");
                let ((sharing, ports), (other_sharing, other_ports)) = (conditions(one), conditions(other));
                prop_assert!(
                    sharing.key.is_some() && sharing == other_sharing && ports.is_disjoint(other_ports)
                );
            }
        }
        Ok(())
    }
}

/// All who are named for an address, in order.
fn named(allocator: &Allocator<u8>, address: IpAddr) -> Vec<u8> {
    let mut found: Vec<Waiter<u8>> = Vec::new();
    while let Some(next) = allocator.next_waiter(address, found.last()) {
        found.push(next);
    }
    found.into_iter().map(|waiter| waiter.key).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_every_step_both_know_the_same(start in pools(), steps in prop::collection::vec(step(), 1..60)) {
        let mut both = Both::default();
        both.take(Step::Pools(start));
        for step in steps {
            let text = format!("{step:?}");
            both.take(step);
            both.compare().map_err(|error| TestCaseError::fail(format!("{error} after {text}")))?;
        }
    }
}
