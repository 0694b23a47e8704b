//! Every fault that is planted into the protocol is found, by the simulator within these seeds or by the explorer.

use membership::Fault;
use sim::{Scene, play};

/// What a fault needs to show.
fn scene(seed: u64, fault: Option<Fault>) -> Scene {
    let large = matches!(fault, Some(Fault::VoteKeepsAcknowledging | Fault::OldEpochsCount));
    let nodes = if large { 9 } else { 3 + usize::try_from(seed % 2).expect("small") };
    Scene { fault, loss: 10_000, ..Scene::new(seed, nodes, 3) }
}

/// The faults that the explorer does not look for, with the seeds that are tried.
const FAULTS: [(Fault, std::ops::Range<u64>); 8] = [
    (Fault::LeaseFromReceipt, 0..60),
    (Fault::HalfIsEnough, 0..60),
    (Fault::NewestElectorateOnly, 0..60),
    (Fault::IgnoresRefusals, 0..60),
    (Fault::YieldsLate, 0..60),
    (Fault::ClaimsUnasked, 0..60),
    (Fault::VoteKeepsAcknowledging, 0..60),
    // One in some hundred seeds shows it; the first of these does today.
    (Fault::OldEpochsCount, 272..572),
];

#[test]
fn every_planted_fault_is_found_by_the_simulator() {
    for (fault, seeds) in FAULTS {
        let found = seeds.clone().find_map(|seed| {
            let failure =
                play(scene(seed, Some(fault))).failure.filter(|failure| failure.contains("both"))?;
            assert_eq!(play(scene(seed, None)).failure, None, "seed {seed} without a fault");
            Some((seed, failure))
        });
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} is not found");
    }
}
