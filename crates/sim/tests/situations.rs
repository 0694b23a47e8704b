//! Situations that a seed meets seldom: a LAN that is dead although its link is up, a drain, two nodes without a majority.

use std::collections::BTreeSet;
use std::net::IpAddr;

use membership::packet::LinkId;
use membership::{Cause, OnQuorumLoss};
use sim::{MILLI, Micros, SECOND, Scene, World};

/// When a founded cluster has come to rest.
const REST: Micros = 14 * SECOND;
/// A LAN other than the node network.
const VLAN: LinkId = LinkId(7);

/// A cluster at rest that announces on the node network, or on another LAN.
fn cluster(scene: Scene, lan: Option<LinkId>) -> World {
    let mut world = World::new(scene);
    if let Some(lan) = lan {
        world.announce_on(lan);
    }
    world.run(REST);
    world
}

/// The addresses that the node answers for.
fn held(world: &World, node: usize) -> Vec<IpAddr> {
    world.addresses().into_iter().filter(|address| world.answers(node, *address)).collect()
}

/// Why addresses were taken since so many moves.
fn taken_since(world: &World, before: usize) -> BTreeSet<Cause> {
    world.moves[before..].iter().filter(|moved| moved.taken).map(|moved| moved.cause).collect()
}

/// Lets time pass in milliseconds until that is so; how long it took. Fails after `most`.
fn until(world: &mut World, most: Micros, mut done: impl FnMut(&World) -> bool) -> Micros {
    let begun = world.now;
    while !done(world) {
        assert!(world.now < begun + most, "not within {most} us");
        world.run(world.now + MILLI);
    }
    world.now - begun
}

#[test]
fn a_dead_vlan_with_carrier_moves_its_addresses_and_a_mended_one_gets_them_back() {
    let mut longest = 0;
    for seed in 0..20 {
        let mut world = cluster(Scene::new(seed, 3, 9), Some(VLAN));
        let node = world.holders(world.addresses()[0])[0];
        let addresses = held(&world, node);
        let later = world.rng().range(0, 100 * MILLI);
        world.run(world.now + later);
        let (before, id) = (world.moves.len(), world.nodes[node].id);
        world.cut_lan(node);
        let moved = until(&mut world, 2 * SECOND, |world| {
            let others = |address: &IpAddr| world.holders(*address).iter().any(|&holder| holder != node);
            addresses.iter().all(others)
        });
        longest = longest.max(moved);
        assert!(taken_since(&world, before).contains(&Cause::Unfit(id)), "seed {seed}");
        let before = world.moves.len();
        world.heal();
        until(&mut world, 5 * SECOND, |world| held(world, node) == addresses);
        // What was on its way when the LAN became whole goes by what was known before.
        let back = taken_since(&world, before);
        let agreed = |cause: &Cause| matches!(cause, Cause::Yielded(_) | Cause::Unfit(_));
        assert!(back.iter().all(agreed) && back.iter().any(|c| matches!(c, Cause::Yielded(_))), "{back:?}");
        assert_eq!(world.violation, None, "seed {seed}");
    }
    println!("a dead VLAN: its addresses have moved after {} ms at most", longest / MILLI);
    assert!(longest <= SECOND, "{longest} us");
}

#[test]
fn who_takes_from_a_dead_node_says_so_and_who_takes_first_says_that_nobody_held_it() {
    for seed in 0..20 {
        let nodes = 3 + usize::try_from(seed % 3).expect("small");
        let mut world = cluster(Scene::new(seed, nodes, 9), None);
        let node = world.holders(world.addresses()[0])[0];
        let first = |address: &IpAddr| world.moves.iter().find(|m| m.address == *address).map(|m| m.cause);
        assert!(world.addresses().iter().all(|a| first(a) == Some(Cause::Unheld)), "seed {seed}");
        let (before, id, addresses) = (world.moves.len(), world.nodes[node].id, held(&world, node));
        world.crash(node);
        until(&mut world, 2 * SECOND, |world| {
            addresses.iter().all(|address| !world.holders(*address).is_empty())
        });
        assert_eq!(taken_since(&world, before), [Cause::HolderDown(id)].into(), "seed {seed}");
    }
}

#[test]
fn one_cut_cable_between_two_nodes_of_a_vlan_moves_nothing() {
    for nodes in [2, 3, 5] {
        let mut world = cluster(Scene::new(1, nodes, 9), Some(VLAN));
        let before = world.moves.len();
        world.cut_cable(0, 1);
        world.run(world.now + 10 * SECOND);
        world.heal();
        world.run(world.now + 10 * SECOND);
        assert_eq!(&world.moves[before..], [], "{nodes} nodes");
    }
}

#[test]
fn a_drain_hands_over_at_once_and_ends_after_the_successors_second_announcement() {
    for seed in 0..20 {
        let mut world = cluster(Scene::new(seed, 3, 9), None);
        let node = world.holders(world.addresses()[0])[0];
        let addresses = held(&world, node);
        let (before, begun) = (world.moves.len(), world.now);
        world.drain(node, true);
        until(&mut world, SECOND, |world| {
            addresses.iter().all(|address| world.holders(*address).iter().any(|&holder| holder != node))
        });
        let moves = world.moves[before..].to_vec();
        for address in &addresses {
            let time = |taken| moves.iter().find(|m| m.address == *address && m.taken == taken).map(|m| m.at);
            let (released, taken) = (time(false).expect("released"), time(true).expect("taken"));
            assert!(
                taken - released < 20 * MILLI,
                "seed {seed}: {address} was nobody's from {released} to {taken}"
            );
            assert!(taken - begun < SECOND, "seed {seed}");
        }
        assert!(
            moves.iter().filter(|m| !m.taken).all(|m| matches!(m.cause, Cause::Asked(_))),
            "kept until asked"
        );
        let id = world.nodes[node].id;
        assert_eq!(taken_since(&world, before), [Cause::Drained(id)].into(), "seed {seed}");
        let last = moves.iter().filter(|m| !m.taken).map(|m| m.at).max().expect("released");
        until(&mut world, 3 * SECOND, |world| world.drained.contains(&node));
        // 1.3 s after the last release, by a clock that is up to 1% fast, at the next input.
        let rest = world.now - last;
        assert!((1_285 * MILLI..1_500 * MILLI).contains(&rest), "seed {seed}: {rest}");
        assert_eq!(world.violation, None);
    }
}

#[test]
fn an_address_that_nobody_else_may_hold_is_answered_for_until_three_seconds_into_the_drain() {
    let mut world = World::new(Scene::new(4, 3, 1));
    let address = world.addresses()[0];
    world.toggle(address, 1);
    world.toggle(address, 2);
    world.run(REST);
    assert_eq!(world.holders(address), [0]);
    world.drain(0, true);
    let kept = until(&mut world, 4 * SECOND, |world| !world.answers(0, address));
    assert!((2_900 * MILLI..3_200 * MILLI).contains(&kept), "{kept}");
}

#[test]
fn of_two_nodes_the_other_one_asks_the_lan_before_it_announces() {
    // The node network is cut and the LAN is not: the probes are answered, so nothing is announced twice.
    let mut world = cluster(Scene::new(2, 2, 6), Some(VLAN));
    let before = world.moves.len();
    world.partition(&[0]);
    world.run(world.now + 20 * SECOND);
    assert_eq!((&world.violation, &world.moves[before..]), (&None, [].as_slice()));
    // A dead one answers nothing: all that it held is taken.
    let orphans = held(&world, 0);
    assert!(!orphans.is_empty());
    world.crash(0);
    let taken = until(&mut world, 2 * SECOND, |world| held(world, 1).len() == 6);
    println!("two nodes, already cut off: all taken {} ms after a death", taken / MILLI);
}

/// Two parts of a cluster announce the same; when they hear each other again each address is one node's at once.
fn heal_after_split(scene: Scene, isolated: usize) {
    let mut world = cluster(scene, None);
    world.exclusive = false;
    let preferred: Vec<Vec<usize>> =
        world.addresses().iter().map(|address| world.holders(*address)).collect();
    world.partition(&[isolated]);
    until(&mut world, 5 * SECOND, |world| held(world, isolated).len() == world.addresses().len());
    world.run(world.now + 3 * SECOND);
    world.heal();
    let healed = until(&mut world, SECOND, |world| {
        world.addresses().iter().all(|address| world.holders(*address).len() <= 1)
    });
    println!("after a split each address is one node's within {} ms", healed / MILLI);
    assert!(healed <= 150 * MILLI, "{healed} us: the first heartbeat decides");
    world.run(world.now + 10 * SECOND);
    let after: Vec<Vec<usize>> = world.addresses().iter().map(|address| world.holders(*address)).collect();
    assert_eq!(after, preferred, "and in the end it is where it belongs");
}

#[test]
fn two_nodes_that_both_announced_agree_on_the_first_heartbeat() {
    heal_after_split(Scene::new(2, 2, 6), 1);
}

#[test]
fn of_two_nodes_that_both_announced_the_lower_rank_yields_to_what_it_sees_on_the_lan() {
    let mut world = cluster(Scene::new(2, 2, 6), Some(VLAN));
    world.exclusive = false;
    let all = world.addresses().len();
    let before: Vec<Vec<usize>> = world.addresses().iter().map(|address| world.holders(*address)).collect();
    world.partition(&[0]);
    world.cut_lan(0);
    until(&mut world, 5 * SECOND, |world| (0..2).all(|node| held(world, node).len() == all));
    // The node network stays cut: only the frames on the LAN tell.
    world.mend_lan();
    world.announce_again(0);
    world.announce_again(1);
    let holders = |world: &World| -> Vec<Vec<usize>> {
        world.addresses().iter().map(|address| world.holders(*address)).collect()
    };
    assert_eq!(holders(&world), before, "each address is at the node that goes first");
    let moves = world.moves.len();
    world.run(world.now + 10 * SECOND);
    assert_eq!((holders(&world), world.moves.len()), (before, moves), "and stays there");
}

#[test]
fn with_a_majority_a_frame_of_another_speaker_moves_nothing() {
    let mut world = cluster(Scene::new(2, 3, 6), None);
    let moves = world.moves.len();
    let (address, others) = (world.addresses()[0], 0..3);
    let holder = world.holders(address)[0];
    for other in others.filter(|&other| other != holder) {
        world.claim(other, holder, address);
    }
    world.run(world.now + 5 * SECOND);
    assert_eq!((world.holders(address), world.moves.len()), (vec![holder], moves));
}

#[test]
fn a_minority_told_to_announce_yields_on_the_first_heartbeat() {
    heal_after_split(Scene { on_quorum_loss: OnQuorumLoss::Announce, ..Scene::new(2, 3, 6) }, 1);
}
