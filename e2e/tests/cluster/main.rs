//! The end-to-end tests on a cluster of three nodes of their own.
//!
//! One cluster serves them all. First the tests of Services run, several at once; then, one after the other,
//! those that roll out the speakers or break something. What a test waits for is a fact, never a time.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod faults;
mod operator;
mod services;
mod support;
mod webhook;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;

use crate::suite::{Shared, collect, trials};
use crate::support::{SOON, World, file};

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(12 * 60);

type Test = suite::Test<World>;

/// The tutorial, as someone does it who has just installed: its pool is the only one.
const FIRST: &[(&str, Test)] = tests!(services: the_client_reaches_the_pod_by_an_address_found_by_arp);

/// Tests that leave each other alone.
const TOGETHER: [&[(&str, Test)]; 2] = [
    tests!(webhook: metrics_are_for_those_who_may_read_them),
    tests!(services:
        a_requested_address_is_assigned_announced_and_described,
        an_address_outside_every_pool_is_refused_with_a_warning,
        the_pool_annotation_picks_the_pool,
        an_unknown_pool_falls_back_to_any_with_a_warning,
        a_service_that_asks_for_nothing_gets_an_address,
        services_with_one_key_share_an_address,
        tcp_and_udp_services_share_an_address,
        an_ipv6_service_is_found_by_ndp,
        a_dual_stack_service_has_two_addresses,
        gratuitous_arp_tells_the_gateway,
        services_spread_over_the_nodes,
        a_local_service_sees_the_clients_address,
        an_ingress_hands_the_clients_address_on,
        a_freed_address_goes_to_a_waiting_service,
        an_address_of_another_family_is_refused,
        a_malformed_cidr_is_refused,
        an_advertisement_of_no_pool_is_reported,
        a_foreign_class_gets_nothing,
        a_settled_service_is_left_alone,
    ),
];

/// Tests that need the cluster for themselves.
const ALONE: [&[(&str, Test)]; 4] = [
    tests!(services: only_selected_nodes_announce),
    tests!(webhook: an_invalid_pool_is_reported_and_hurts_nobody),
    tests!(operator:
        the_plain_resource_runs_a_controller_and_a_speaker_on_every_node,
        speakers_run_and_announce_on_labelled_nodes_only,
        runtime_class_and_annotations_reach_the_pods,
        speakers_that_cannot_be_scheduled_are_named,
        limits_and_log_level_take_effect_and_are_taken_back,
        a_wrong_name_or_namespace_is_explained,
        drift_is_repaired,
        nothing_is_written_at_rest,
        deleting_the_resource_cleans_up_and_keeps_addresses,
    ),
    tests!(faults:
        addresses_survive_a_new_controller,
        another_node_takes_over_when_one_is_cut_off,
        a_minute_without_the_api_server_loses_nothing,
    ),
];

impl Shared for World {
    const SUITE: &'static str = "cluster";

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // To list the tests no cluster is needed.
        let all = [FIRST, &TOGETHER.concat(), &ALONE.concat()].concat();
        return Ok(libtest_mimic::run(&arguments, trials(&all, None)).exit_code());
    }
    let start = Instant::now();
    let alive = suite::limit(BUDGET);
    let options = Options { nodes: 3, ..Options::new(&format!("test-cluster-{}", std::process::id())) };
    let world = Arc::new(World { cluster: Cluster::up(&options)? });
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
    let mut failed = run(FIRST, 1);
    for manifest in ["fixtures/pools.yaml", "mission/pool-doc-example.yaml"] {
        world.kubectl(&["apply", "-f", &file(manifest).display().to_string()])?;
    }
    failed |= run(&TOGETHER.concat(), 6);
    failed |= run(&ALONE.concat(), 1);
    if failed {
        collect(&world.cluster, World::SUITE);
    }
    let world = Arc::into_inner(world).context("a test still holds the cluster")?;
    world.cluster.down()?;
    println!("suite cluster took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the cluster the operator, the MetalLB resource and the Pods that the tests use.
fn prepare(world: &World) -> Result<()> {
    world.cluster.install()?;
    world.kubectl(&["apply", "-f", &file("mission/metallb.yaml").display().to_string()])?;
    world.kubectl(&["apply", "-f", &file("fixtures/workloads.yaml").display().to_string()])?;
    world.wait_available()?;
    for workload in ["web", "webserver", "dns"] {
        let wait = format!("rollout status deployment {workload} --timeout={}s", SOON.as_secs() * 2);
        world.k(&wait)?;
    }
    Ok(())
}
