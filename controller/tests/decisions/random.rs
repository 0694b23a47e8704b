//! Random lives of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use controller::service::Service;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    Service { name: usize, key: Option<u8>, port: u16, ip: Option<u8>, pool: Option<usize>, policy: u8 },
    Delete(usize),
    Retype(usize),
    Pool { name: usize, first: u8, size: u8, dual: bool, auto: bool },
    DeletePool(usize),
    Slow(bool),
    FinishWrites,
    Restart,
}

const SERVICES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const POOLS: [&str; 3] = ["p", "q", "r"];

fn step() -> impl Strategy<Value = Step> {
    let service = (
        0..SERVICES.len(),
        prop::option::of(0_u8..2),
        80_u16..83,
        prop::option::weighted(0.3, 0_u8..24),
        prop::option::weighted(0.2, 0..POOLS.len()),
        0_u8..4,
    );
    prop_oneof![
        8 => service.prop_map(|(name, key, port, ip, pool, policy)| Step::Service { name, key, port, ip, pool, policy }),
        3 => (0..SERVICES.len()).prop_map(Step::Delete),
        1 => (0..SERVICES.len()).prop_map(Step::Retype),
        4 => (0..POOLS.len(), 0_u8..20, 0_u8..5, any::<bool>(), any::<bool>())
            .prop_map(|(name, first, size, dual, auto)| Step::Pool { name, first, size, dual, auto }),
        1 => (0..POOLS.len()).prop_map(Step::DeletePool),
        1 => any::<bool>().prop_map(Step::Slow),
        3 => Just(Step::FinishWrites),
        2 => Just(Step::Restart),
    ]
}

fn take(world: &mut World, step: &Step, services: &mut BTreeSet<usize>) {
    match step {
        Step::Service { name, key, port, ip, pool, policy } => {
            let mut annotations = json!({});
            if let Some(key) = key {
                annotations["metallb.io/allow-shared-ip"] = json!(format!("key-{key}"));
            }
            if let Some(pool) = pool {
                annotations["metallb.io/address-pool"] = json!(POOLS[*pool]);
            }
            let mut spec = json!({ "ports": [{ "port": port }] });
            if *policy > 0 {
                spec["clusterIPs"] = json!(["10.96.0.1", "fd00::1"]);
                spec["ipFamilyPolicy"] =
                    json!(if *policy == 1 { "RequireDualStack" } else { "PreferDualStack" });
            }
            if let Some(ip) = ip {
                spec["loadBalancerIP"] = json!(format!("192.0.2.{ip}"));
            }
            services.insert(*name);
            world.service(SERVICES[*name], json!({ "annotations": annotations }), spec);
        }
        Step::Delete(name) => {
            if services.remove(name) {
                world.delete(SERVICES[*name]);
            }
        }
        Step::Retype(name) => {
            if services.contains(name) {
                world.service(SERVICES[*name], json!({}), json!({ "type": "ClusterIP" }));
            }
        }
        Step::Pool { name, first, size, dual, auto } => {
            let mut addresses = vec![format!("192.0.2.{first}-192.0.2.{}", first + size)];
            if *dual {
                addresses.push(format!("2001:db8::{first:x}-2001:db8::{:x}", first + size));
            }
            let spec: Value = json!({ "addresses": addresses, "autoAssign": auto });
            world.pool(POOLS[*name], spec);
        }
        Step::DeletePool(name) => world.delete_pool(POOLS[*name]),
        Step::Slow(slow) => world.slow = *slow,
        Step::FinishWrites => world.finish_writes(),
        Step::Restart => world.restart(),
    }
}

/// What must hold at every moment: an address is with several Services only where they share it.
fn check_sharing(world: &World) -> Result<(), TestCaseError> {
    let mut users: BTreeMap<IpAddr, Vec<Service>> = BTreeMap::new();
    for service in world.all() {
        for text in service.status.ingress.iter().flatten() {
            users.entry(text.parse().expect("an address")).or_default().push(service.clone());
        }
    }
    for (address, users) in users {
        for (place, one) in users.iter().enumerate() {
            for other in &users[place + 1..] {
                let alike = one.sharing.key.is_some() && one.sharing == other.sharing;
                prop_assert!(
                    alike && one.ports.is_disjoint(&other.ports),
                    "{address}: {} and {}",
                    one.key,
                    other.key
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_address_is_doubled_and_a_restart_changes_nothing(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::with_pools(&[("p", &["192.0.2.0-192.0.2.3"])]);
        let mut services = BTreeSet::new();
        for step in &steps {
            take(&mut world, step, &mut services);
        }
        world.slow = false;
        for _ in 0..4 {
            world.finish_writes();
        }
        // Without any pool nothing would be touched, doubled or not.
        world.pool("z", json!({ "addresses": ["203.0.113.0/32"], "autoAssign": false }));
        if world.is_misconfigured() {
            // Which of two pools that overlap is at fault depends on which was there first, and that is not written
            // down; and who has an address of a pool that is not in force keeps it, come what may.
            world.restart();
            world.delete_pool("q");
            world.delete_pool("r");
        }
        check_sharing(&world)?;
        let before = world.all_ips();
        world.writes();
        world.restart();
        prop_assert_eq!(world.all_ips(), before);
        prop_assert_eq!(world.writes(), 0);
    }
}
