//! The operator as the Operator Lifecycle Manager (OLM) installs, upgrades and removes it: the real OLM, on a cluster
//! of its own, with a catalog of two versions made from this checkout.
//!
//! The tests are the life of an installation, one after the other. First in the namespace for operators of all
//! namespaces, as a web console does it, from the older version on; then, when that is removed, as the mission's file
//! has it. The bundle itself is judged before by those who judge it for catalogs.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod bundle;
mod console;
mod lifecycle;
mod mission;
#[path = "../cluster/support.rs"]
#[allow(dead_code, reason = "what only the tests of Services need")]
mod support;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Olm, OlmPrograms, Options, Progress};
use libtest_mimic::Arguments;

use crate::suite::{Shared, collect, trials};
use crate::support::{World, file};

/// How long the suite may take, with its images and OLM built.
const BUDGET: Duration = Duration::from_secs(10 * 60);
/// The versions in the catalog, the older one first: that of the workspace, and one made for the upgrade.
pub(crate) const VERSIONS: [&str; 2] = [env!("CARGO_PKG_VERSION"), "999.0.0"];

type Test = suite::Test<Suite>;

/// Tests of the bundle, which need no cluster.
const JUDGED: &[(&str, Test)] = tests!(bundle:
    the_validators_find_nothing_to_say,
    each_fault_of_a_bundle_turns_a_validator_red,
    the_catalog_is_valid,
);

/// The life of an installation. Each goes on where the one before has ended.
const LIFE: [&[(&str, Test)]; 2] = [
    tests!(console:
        a_subscription_in_the_namespace_of_operators_installs_the_version_that_it_names,
        the_resource_counts_in_the_operators_namespace_only,
        reviews_are_answered_through_what_olm_set_up,
        peers_are_converted_through_what_olm_set_up,
        a_service_is_reachable,
        an_upgrade_waits_for_a_rollout,
        an_approved_upgrade_restarts_no_speaker_and_loses_no_address,
        what_the_operator_may_do_is_enough,
        an_uninstalled_operator_leaves_resources_and_a_clean_api_server,
    ),
    tests!(mission: the_missions_file_installs_and_the_resource_is_available),
];

/// What the tests have.
pub(crate) struct Suite {
    /// Nothing for tests of the bundle.
    cluster: Option<(World, Olm)>,
    pub(crate) programs: OlmPrograms,
}

impl Suite {
    pub(crate) fn world(&self) -> &World {
        let (world, _) = self.cluster.as_ref().expect("tests of the bundle do not ask for the cluster");
        world
    }
}

impl Shared for Suite {
    const SUITE: &'static str = "olm";

    fn cluster(&self) -> &Cluster {
        &self.world().cluster
    }
}

/// The folder of the bundle of a version, with the images that are built here.
pub(crate) fn bundle_of(version: &str) -> PathBuf {
    file("../build/olm").join(version)
}

/// The folder of the catalog.
pub(crate) fn catalog() -> PathBuf {
    file("../build/olm/catalog")
}

/// Runs a chore of the project.
fn xtask(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--"])
        .args(arguments)
        .current_dir(file(".."))
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "cargo xtask {} failed (see above)", arguments.join(" "));
    Ok(())
}

/// Makes the bundles and the catalog.
fn make_catalog() -> Result<()> {
    let [old, new] = VERSIONS;
    for version in VERSIONS {
        let out = format!("build/olm/{version}");
        let images = ["--registry", "metallb-rs.test", "--tag", "dev", "--out", &out];
        let mut arguments = [&["bundle", "--version", version][..], &images].concat();
        if version == new {
            arguments.extend(["--replaces", old]);
        }
        xtask(&arguments)?;
    }
    let bundles = VERSIONS.map(|version| format!("build/olm/{version}"));
    xtask(&["catalog", &bundles[0], &bundles[1], "--out", "build/olm/catalog"])
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // To list the tests no cluster is needed.
        return Ok(
            libtest_mimic::run(&arguments, trials(&[JUDGED, &LIFE.concat()].concat(), None)).exit_code()
        );
    }
    let programs = OlmPrograms::built(&Progress::new())?;
    let start = Instant::now();
    make_catalog()?;
    arguments.test_threads = Some(1);
    let judged = Arc::new(Suite { cluster: None, programs: programs.clone() });
    let mut failed = libtest_mimic::run(&arguments, trials(JUDGED, Some(&judged))).has_failed();

    let alive = suite::limit(BUDGET);
    let options = Options { nodes: 2, ..Options::new(&format!("test-olm-{}", std::process::id())) };
    let world = World { cluster: Cluster::up(&options)? };
    let olm = match prepare(&world, &programs) {
        Ok(olm) => olm,
        Err(error) => {
            collect(&world.cluster, Suite::SUITE);
            return Err(error.context("preparing the cluster"));
        }
    };
    let suite = Arc::new(Suite { cluster: Some((world, olm)), programs });
    alive.get_or_init(|| Arc::downgrade(&suite));
    println!("cluster ready after {:.0?}", start.elapsed());
    let life = LIFE.concat();
    for test in &life {
        // One that fails leaves no ground for the next.
        if libtest_mimic::run(&arguments, trials(&[*test], Some(&suite))).has_failed() {
            failed = true;
            collect(suite.cluster(), Suite::SUITE);
            break;
        }
    }
    let suite = Arc::into_inner(suite).context("a test still holds the cluster")?;
    if let Some((world, olm)) = suite.cluster {
        drop(olm);
        world.cluster.down()?;
    }
    println!("suite olm took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Starts OLM with the catalog, and the Pods that a Service leads to.
fn prepare(world: &World, programs: &OlmPrograms) -> Result<Olm> {
    let olm = programs.start(&world.cluster, &catalog())?;
    world.kubectl(&["apply", "-f", &file("fixtures/workloads.yaml").display().to_string()])?;
    lifecycle::wait_for_catalog(world)?;
    Ok(olm)
}
