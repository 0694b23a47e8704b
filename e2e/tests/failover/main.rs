//! Addresses that move: what a client on the LAN notices when nodes die, are cut off, drained or updated.
//!
//! One cluster of three nodes serves most tests, one after the other; then come one of two nodes and one of five.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod choosing;
mod deaths;
mod handover;
mod interfaces;
#[path = "../cluster/support.rs"]
#[allow(dead_code, reason = "the suites share it, and each uses its part")]
mod support;
mod watching;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;

use crate::suite::{Shared, collect, trials};
use crate::support::{SOON, World, file};

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(16 * 60);

type Test = suite::Test<World>;

const THREE: &[&[(&str, Test)]] = &[
    tests!(deaths:
        a_node_that_is_cut_off_loses_its_addresses_to_one_other,
        a_node_that_is_killed_loses_its_addresses,
        a_paused_speaker_that_goes_on_does_not_answer_again,
        a_death_is_survived_without_the_api_server,
        one_of_three_alone_is_silent,
    ),
    tests!(handover:
        a_rollout_of_the_speakers_loses_no_new_flow,
        a_rollout_between_two_versions_of_the_protocol_loses_no_new_flow,
        a_drained_node_hands_over_and_takes_nothing,
        a_cordon_changes_nothing,
        a_new_key_moves_nothing,
        speakers_on_fewer_nodes_go_on,
    ),
    tests!(choosing:
        preferred_nodes_go_first_and_the_status_says_why_it_moves,
        a_node_without_network_announces_nothing,
        service_selectors_choose_and_those_left_out_are_told,
        a_local_service_is_where_its_pod_is_in_every_family,
        only_the_named_interfaces_answer_and_one_that_is_missing_is_told,
    ),
    tests!(interfaces:
        a_dead_interface_with_carrier_moves_its_addresses,
        a_stranger_with_our_addresses_is_reported_and_answered_once_in_ten_seconds,
    ),
];

const TWO: &[&[(&str, Test)]] = &[tests!(deaths: of_two_nodes_the_one_that_is_left_goes_on)];

const FIVE: &[&[(&str, Test)]] = &[tests!(handover: speakers_that_leave_together_lose_no_new_flow)];

impl Shared for World {
    const SUITE: &'static str = "failover";

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    if arguments.list {
        // To list the tests no cluster is needed.
        let all = [THREE.concat(), TWO.concat(), FIVE.concat()].concat();
        return Ok(libtest_mimic::run(&arguments, trials(&all, None)).exit_code());
    }
    let start = Instant::now();
    let mut failed = false;
    for (nodes, tests) in [(3, THREE), (2, TWO), (5, FIVE)] {
        failed |= on_cluster(&arguments, nodes, &tests.concat(), BUDGET.saturating_sub(start.elapsed()))?;
    }
    println!("suite failover took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs the tests on a cluster of so many nodes; whether one failed.
fn on_cluster(
    arguments: &Arguments,
    nodes: u8,
    tests: &[(&'static str, Test)],
    budget: Duration,
) -> Result<bool> {
    let mut arguments = arguments.clone();
    arguments.test_threads = Some(1);
    let alive = suite::limit(budget);
    let options = Options { nodes, ..Options::new(&format!("t-fail{nodes}-{}", std::process::id())) };
    let world = Arc::new(World { cluster: Cluster::up(&options)? });
    alive.get_or_init(|| Arc::downgrade(&world));
    if let Err(error) = prepare(&world) {
        collect(&world.cluster, World::SUITE);
        return Err(error.context("preparing the cluster"));
    }
    let failed = libtest_mimic::run(&arguments, trials(tests, Some(&world))).has_failed();
    if failed {
        collect(&world.cluster, World::SUITE);
    }
    Arc::into_inner(world).context("a test still holds the cluster")?.cluster.down()?;
    Ok(failed)
}

/// Gives the cluster the operator, the MetalLB resource, pools and the Pods that the tests use.
fn prepare(world: &World) -> Result<()> {
    world.cluster.install()?;
    world.kubectl(&["apply", "-f", &file("mission/metallb.yaml").display().to_string()])?;
    world.kubectl(&["apply", "-f", &file("fixtures/workloads.yaml").display().to_string()])?;
    world.wait_available()?;
    world.apply(watching::POOLS)?;
    for workload in ["web", "webserver"] {
        world.k(&format!("rollout status deployment {workload} --timeout={}s", SOON.as_secs() * 2))?;
    }
    Ok(())
}
