//! The ways to install that need no OLM, beside the one file, on a cluster of one node of its own: the Helm chart, and then
//! `config/default` by kustomize, where the chart has left its definitions and what users wrote.
//!
//! The tests are the life of an installation, one after the other; each goes on where the one before has ended.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod chart;
mod kustomize;
mod objects;
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
const BUDGET: Duration = Duration::from_secs(6 * 60);
/// The registry of the images that are built here, and their tag.
pub(crate) const BUILT: (&str, &str) = ("metallb-rs.test", "dev");

type Test = suite::Test<World>;

const TESTS: [&[(&str, Test)]; 2] = [
    tests!(chart:
        the_chart_serves_an_address,
        an_upgrade_with_other_values_reaches_the_programs_and_keeps_the_address,
        an_uninstalled_chart_leaves_definitions_and_what_users_wrote,
    ),
    tests!(kustomize:
        an_overlay_of_the_default_gives_a_resource_that_is_available,
        what_the_default_made_goes_as_it_came,
    ),
];

impl Shared for World {
    const SUITE: &'static str = "install";

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
    let options = Options { nodes: 1, ..Options::new(&format!("test-inst-{}", std::process::id())) };
    let world = Arc::new(World { cluster: Cluster::up(&options)? });
    alive.get_or_init(|| Arc::downgrade(&world));
    world.kubectl(&["apply", "-f", &file("fixtures/workloads.yaml").display().to_string()])?;
    println!("cluster ready after {:.0?}", start.elapsed());
    let mut failed = false;
    for test in TESTS.concat() {
        // One that fails leaves no ground for the next.
        if libtest_mimic::run(&arguments, trials(&[test], Some(&world))).has_failed() {
            failed = true;
            collect(&world.cluster, World::SUITE);
            break;
        }
    }
    let world = Arc::into_inner(world).context("a test still holds the cluster")?;
    world.cluster.down()?;
    println!("suite install took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
