//! Every fault that is planted into the protocol is found, by the simulator within these seeds or by the explorer.

use membership::Fault;
use sim::{Scene, play};

#[test]
fn every_planted_fault_is_found() {
    let faults = [
        Fault::LeaseFromReceipt,
        Fault::HearingIsEnough,
        Fault::RestartForgets,
        Fault::HalfIsEnough,
        Fault::NewestElectorateOnly,
        Fault::IgnoresRefusals,
        Fault::AckOfFormerLife,
        Fault::SupportTooShort,
        Fault::GrantsTwice,
        Fault::YieldsLate,
        Fault::ClaimsUnasked,
        Fault::VoteKeepsAcknowledging,
    ];
    let mut missed = Vec::new();
    for fault in faults {
        let found = (0..200).find_map(|seed| {
            let nodes = 3 + usize::try_from(seed % 3).expect("small");
            let scene = Scene { fault: Some(fault), loss: 10_000, ..Scene::new(seed, nodes, 3) };
            play(scene).failure.map(|failure| (seed, failure))
        });
        match found {
            Some((seed, failure)) => println!("{fault:?}: seed {seed}: {failure}"),
            None => missed.push(fault),
        }
        println!("{fault:?} done");
    }
    assert_eq!(missed, []);
}
