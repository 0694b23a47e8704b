//! The end-to-end tests of allocation, on a cluster of one node: every rule by which Services are given addresses and
//! lose them, and what becomes of addresses when the controller is away, killed, frozen or one of two.
//!
//! Each test has a namespace and addresses of its own, so most of them run at once. What a test waits for is a fact,
//! which a [`mirror`] of the API server tells of.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod away;
mod changes;
mod churn;
mod counts;
mod families;
mod kills;
mod mirror;
mod pools;
mod replicas;
mod requests;
mod sharing;
mod support;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;

use crate::mirror::Mirror;
use crate::suite::{Shared, collect, trials};
use crate::support::{NAMESPACE, ROLLOUT, World};

/// How long the suite may take, with its images built, and with the long form of the kill test.
const BUDGET: Duration = Duration::from_secs(10 * 60);

type Test = suite::Test<World>;

/// Its pools are for everybody: no Service of another test may wait for an address.
const FIRST: &[(&str, Test)] = tests!(pools: pools_for_everybody_come_last_and_by_name);

/// Tests that leave each other alone.
const TOGETHER: [&[(&str, Test)]; 6] = [
    tests!(pools:
        fifty_pools_of_one_address_serve_fifty_services,
        the_pool_with_the_lowest_priority_number_comes_first,
        only_namespaces_that_are_named_or_selected_use_a_pool,
        a_namespace_s_labels_are_followed,
        only_selected_services_use_a_pool,
        a_pool_without_automatic_assignment_serves_on_request,
        addresses_that_old_equipment_refuses_are_left_out,
        a_pool_may_be_larger_than_its_counters,
    ),
    tests!(requests:
        addresses_are_asked_for_by_annotation_under_both_prefixes,
        requests_that_cannot_be_met_are_refused_with_the_reason,
        a_changed_request_moves_the_service,
        a_pool_that_appears_later_moves_those_who_say_so,
    ),
    tests!(families:
        a_second_address_is_added_when_the_pool_grows,
        a_pool_that_loses_a_family_takes_both_addresses,
        the_policy_of_families_may_change_in_every_direction,
        the_first_family_decides_where_no_pool_has_both,
    ),
    tests!(sharing:
        services_that_may_not_share_are_told_why,
        the_key_changes_in_place_for_who_is_alone,
        what_a_sharer_gives_up_goes_to_who_waits_for_it,
        services_with_a_key_gather_on_the_lowest_address,
    ),
    tests!(changes:
        a_pool_that_shrinks_or_goes_takes_its_addresses_along,
        a_new_pool_moves_nobody,
        another_type_gives_the_address_to_who_waits,
        what_others_write_is_put_right,
        a_status_that_cannot_be_written_holds_up_nobody,
        a_transition_is_told_once,
    ),
    tests!(counts: pools_and_metrics_count_what_is_given),
];

/// Tests that take the controller away, one after the other.
const ALONE: [&[(&str, Test)]; 3] = [
    tests!(away:
        of_two_that_claim_one_address_the_older_keeps_it,
        renamed_and_split_pools_keep_their_services,
        a_status_that_was_there_before_is_taken_over_where_it_is_good,
        what_left_meanwhile_has_left_its_address,
    ),
    tests!(kills:
        a_controller_that_starts_at_rest_writes_nothing,
        no_address_is_lost_or_doubled_when_the_controller_is_killed,
    ),
    tests!(replicas:
        of_two_replicas_one_leads_and_both_are_ready,
        a_leader_that_stops_hands_over_at_once,
        a_leader_that_is_killed_is_replaced,
        a_leader_that_is_frozen_is_replaced_and_stands_by,
        no_address_is_lost_or_doubled_when_the_lead_changes,
    ),
];

impl Shared for World {
    const SUITE: &'static str = "allocation";

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
    let options = Options { nodes: 1, ..Options::new(&format!("test-alloc-{}", std::process::id())) };
    let cluster = Cluster::up(&options)?;
    if let Err(error) = prepare(&cluster) {
        collect(&cluster, World::SUITE);
        return Err(error.context("preparing the cluster"));
    }
    let mirror = Mirror::follow(&cluster)?;
    let world = Arc::new(World { cluster, mirror, absence: OnceLock::new() });
    alive.get_or_init(|| Arc::downgrade(&world));
    println!("cluster ready after {:.0?}", start.elapsed());

    let mut run = |tests: &[(&'static str, Test)], threads: usize| {
        arguments.test_threads = Some(threads);
        libtest_mimic::run(&arguments, trials(tests, Some(&world))).has_failed()
    };
    let mut failed = run(FIRST, 1);
    failed |= run(&TOGETHER.concat(), 6);
    failed |= run(&ALONE.concat(), 1);
    if failed {
        collect(&world.cluster, World::SUITE);
    }
    let World { cluster, mirror, .. } = Arc::into_inner(world).context("a test still holds the cluster")?;
    drop(mirror);
    cluster.down()?;
    println!("suite allocation took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the cluster the operator and the MetalLB resource.
fn prepare(cluster: &Cluster) -> Result<()> {
    cluster.install()?;
    cluster.apply_file("e2e/mission/metallb.yaml")?;
    let timeout = format!("--timeout={}s", ROLLOUT.as_secs());
    let wait = ["wait", "-n", NAMESPACE, "--for=condition=Available", "metallb/metallb", &timeout];
    cluster.kubectl(&wait).map(drop)
}
