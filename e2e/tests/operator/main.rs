//! The operator on a cluster of one node of its own: what it refuses, what it makes by request, what it does when it was
//! away, and whether it and the others have the rights that they need and no more.
//!
//! The tests run one after the other, and each ends with MetalLB as the mission's plain file has it.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod admission;
#[path = "../common/rights.rs"]
mod audit;
mod away;
mod besides;
mod mistakes;
mod openshift;
mod rest;
mod rights;
#[path = "../cluster/support.rs"]
#[allow(dead_code, reason = "what only the tests of Services need")]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;

use crate::suite::{Shared, collect, trials};
use crate::support::{World, file};

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(12 * 60);
/// The operator's Deployment.
pub(crate) const OPERATOR: &str = "deployment/metallb-operator-controller-manager";

type Test = suite::Test<World>;

const TESTS: [&[(&str, Test)]; 8] = [
    tests!(admission: what_the_operator_cannot_do_is_refused_in_words_that_users_know),
    tests!(besides:
        policies_are_there_and_come_back,
        what_is_asked_for_is_made_and_taken_away,
    ),
    tests!(rest: nothing_is_written_in_a_minute_of_rest),
    tests!(besides:
        every_metric_of_alerts_and_dashboard_exists,
        pods_are_monitored_where_that_is_asked_for,
    ),
    tests!(openshift: on_openshift_pods_name_constraints_and_serve_its_certificates),
    tests!(away:
        an_image_that_cannot_be_pulled_is_named_until_it_can,
        a_resource_deleted_while_the_operator_is_away_leaves_nothing,
        an_operator_that_starts_anew_changes_nothing,
    ),
    tests!(mistakes:
        a_spec_that_nobody_refused_is_explained_and_the_last_good_one_goes_on,
        a_speaker_that_keeps_ending_is_named_with_its_node_and_its_log,
        a_node_without_a_speaker_is_named_with_what_keeps_it_away,
        definitions_that_are_missing_are_waited_for,
    ),
    // Last: it looks back at what all of them did.
    tests!(rights: no_request_is_forbidden_and_every_right_is_used),
];

impl Shared for World {
    const SUITE: &'static str = "operator";

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        // To list the tests no cluster is needed.
        return Ok(libtest_mimic::run(&arguments, trials(&TESTS.concat(), None)).exit_code());
    }
    let start = Instant::now();
    let alive = suite::limit(BUDGET);
    let name = format!("test-oper-{}", std::process::id());
    let options = Options { nodes: 1, audit_reads: true, ..Options::new(&name) };
    let world = Arc::new(World { cluster: Cluster::up(&options)? });
    alive.get_or_init(|| Arc::downgrade(&world));
    if let Err(error) = prepare(&world) {
        collect(&world.cluster, World::SUITE);
        return Err(error.context("preparing the cluster"));
    }
    println!("cluster ready after {:.0?}", start.elapsed());
    let failed = libtest_mimic::run(&arguments, trials(&TESTS.concat(), Some(&world))).has_failed();
    if failed {
        collect(&world.cluster, World::SUITE);
    }
    let world = Arc::into_inner(world).context("a test still holds the cluster")?;
    world.cluster.down()?;
    println!("suite operator took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the cluster the operator, the MetalLB resource, a Service and what it takes to give that an address.
fn prepare(world: &World) -> Result<()> {
    world.cluster.install()?;
    world.mission("metallb.yaml")?;
    for manifest in ["fixtures/workloads.yaml", "fixtures/pools.yaml"] {
        world.kubectl(&["apply", "-f", &file(manifest).display().to_string()])?;
    }
    world.apply(&format!(
        "{{apiVersion: metallb.io/v1beta1, kind: L2Advertisement, metadata: {{name: all, namespace: {}}}, spec: {{}}}}",
        support::NAMESPACE
    ))?;
    world.wait_available()?;
    world.service("lasting", "annotations: {metallb.io/address-pool: spread}", "sessionAffinity: None")?;
    world.wait_addresses("lasting").map(drop)
}
