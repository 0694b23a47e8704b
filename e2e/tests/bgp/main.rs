//! The end-to-end tests of BGP, on a cluster of three nodes with FRR, BIRD and GoBGP as routers on its LAN.
//!
//! Each test has a pool, a router and peers of its own, so most of them run at once. What a test waits for is a fact, which
//! the router or the API server tells of.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod drains;
mod frr;
mod others;
mod restarts;
mod routes;
mod sessions;
mod settings;
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;

use crate::suite::{Shared, collect, trials};
use crate::support::{NAMESPACE, ROLLOUT, World, file};

/// How long the suite may take, with its images built; two minutes of it are one restart time.
const BUDGET: Duration = Duration::from_secs(10 * 60);

type Test = suite::Test<World>;

/// Tests that leave each other alone.
const TOGETHER: [&[(&str, Test)]; 3] = [
    tests!(others:
        a_client_reaches_pods_on_all_nodes_through_bird,
        gobgp_takes_both_families_with_communities,
    ),
    tests!(sessions:
        every_node_announces_over_ebgp_and_says_so,
        within_an_as_routes_have_a_local_preference,
        both_families_go_over_a_session_of_either,
        a_rotated_password_takes_effect_and_a_wrong_one_is_explained,
        a_silent_router_is_given_up_within_the_hold_time,
        a_router_behind_another_one_needs_multi_hop,
        as_numbers_may_be_found_out_and_hidden,
        a_session_comes_from_the_source_address_with_the_router_id,
        what_is_not_supported_yet_is_said,
    ),
    tests!(routes:
        communities_arrive_and_change_within_the_session,
        an_aggregate_goes_with_its_last_service,
        selectors_choose_nodes_peers_and_services,
        a_local_service_is_announced_where_its_pods_are,
        a_service_that_goes_to_no_router_is_told_so,
        a_service_may_be_announced_by_both_protocols,
    ),
];

/// Tests that end or stop speakers, or drain a node.
const ALONE: [&[(&str, Test)]; 3] = [
    tests!(restarts:
        routes_outlive_a_restart_where_that_is_agreed,
        the_routes_of_a_speaker_that_stands_still_go_within_the_hold_time,
    ),
    tests!(drains:
        routes_of_a_drained_node_are_announced_as_going_and_then_go,
    ),
    tests!(settings:
        a_router_may_connect_and_nobody_else,
        routes_of_a_silent_node_outlive_the_hold_time_where_that_is_wanted,
    ),
];

impl Shared for World {
    const SUITE: &'static str = "bgp";

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // To list the tests no cluster is needed.
        let all = [TOGETHER.concat(), ALONE.concat()].concat();
        return Ok(libtest_mimic::run(&arguments, trials(&all, None)).exit_code());
    }
    let start = Instant::now();
    let alive = suite::limit(BUDGET);
    let options = Options { nodes: 3, ..Options::new(&format!("test-bgp-{}", std::process::id())) };
    let world = Arc::new(World::new(Cluster::up(&options)?)?);
    alive.get_or_init(|| Arc::downgrade(&world));
    if let Err(error) = prepare(&world) {
        collect(&world.cluster, World::SUITE);
        return Err(error.context("preparing the cluster"));
    }
    println!("cluster ready after {:.0?}", start.elapsed());

    let mut run = |tests: &[(&'static str, Test)], threads: usize| {
        arguments.test_threads = Some(threads);
        libtest_mimic::run(&arguments, trials(tests, Some(&world))).has_failed()
    };
    let mut failed = run(&TOGETHER.concat(), 6);
    failed |= run(&ALONE.concat(), 1);
    if failed {
        collect(&world.cluster, World::SUITE);
    }
    let World { cluster, zebra, .. } = Arc::into_inner(world).context("a test still holds the cluster")?;
    drop(zebra);
    cluster.down()?;
    println!("suite bgp took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the cluster the operator, the MetalLB resource and the Pods that the tests use.
fn prepare(world: &World) -> Result<()> {
    world.cluster.install()?;
    for path in ["mission/metallb.yaml", "fixtures/workloads.yaml"] {
        world.kubectl(&["apply", "-f", &file(path).display().to_string()])?;
    }
    let timeout = format!("--timeout={}s", ROLLOUT.as_secs());
    let wait = ["wait", "-n", NAMESPACE, "--for=condition=Available", "metallb/metallb", &timeout];
    world.kubectl(&wait)?;
    world.k(&format!("rollout status deployment web {timeout}")).map(drop)
}
