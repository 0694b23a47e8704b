//! The end-to-end tests of what is refused and what is explained, on a cluster of one node of their own.
//!
//! One cluster serves them all. They share MetalLB's namespace, where every object has a say in what is valid: so one
//! runs after the other, but for those about the servers. What a test waits for is a fact, never a time.

#[macro_use]
#[path = "../common/suite.rs"]
mod suite;

mod definitions;
mod kinds;
mod mistakes;
mod objects;
mod rotation;
mod serving;
#[path = "../cluster/support.rs"]
#[allow(dead_code, reason = "what only the tests of Services need")]
mod support;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{Cluster, Options};
use libtest_mimic::Arguments;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::objects::{Admin, until};
use crate::suite::{Shared, collect, trials};
use crate::support::World;

/// How long the suite may take, with its images built.
const BUDGET: Duration = Duration::from_secs(5 * 60);
/// What the API server asks before it stores a resource of metallb.io.
const CONFIGURATION: &str = "metallb-webhook-configuration";
/// The definitions with rules for what users write.
const RULED: [&str; 6] =
    ["bfdprofiles", "bgpadvertisements", "bgppeers", "communities", "ipaddresspools", "l2advertisements"];

type Test = suite::Test<Suite>;

/// Tests that make objects in MetalLB's namespace, with the webhooks as they are.
const GUARDED: [&[(&str, Test)]; 3] = [
    tests!(serving: programs_are_ready_soon_after_their_start),
    tests!(kinds:
        every_kind_is_judged_when_it_is_created_and_when_it_is_changed,
        every_kind_is_refused_in_another_namespace,
        a_bfd_profile_in_use_cannot_be_deleted,
        a_bgp_peer_is_served_in_both_versions,
    ),
    tests!(mistakes: every_mistake_is_refused_with_its_exact_words),
];

/// Tests of the servers, which leave each other alone.
const TOGETHER: [&[(&str, Test)]; 2] = [
    tests!(rotation: no_review_fails_while_certificates_are_replaced),
    tests!(serving:
        a_certificate_of_others_is_served_and_follows_its_files,
        the_flags_decide_about_http_2_and_tls_versions,
    ),
];

/// Tests that take the webhooks or the definitions' rules away.
const UNGUARDED: [&[(&str, Test)]; 2] = [
    tests!(definitions: every_rule_accepts_and_refuses_with_the_words_of_its_table),
    tests!(mistakes:
        every_mistake_that_is_stored_is_shown_in_the_configuration_states,
        an_upgrade_shows_what_was_stored_invalid_and_lets_it_be_corrected,
    ),
];

/// What the tests have.
pub(crate) struct Suite {
    pub(crate) world: World,
    admin: Admin,
    runtime: Runtime,
    figures: Mutex<Vec<String>>,
}

impl Suite {
    fn new(cluster: Cluster) -> Result<Self> {
        let runtime = Runtime::new().context("starting the runtime")?;
        let admin = runtime.block_on(Admin::new(&cluster))?;
        Ok(Self { world: World { cluster }, admin, runtime, figures: Mutex::default() })
    }

    /// Notes what a test found, for the suite's last lines.
    pub(crate) fn figure(&self, line: String) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// Does what needs many words with the API server.
    pub(crate) fn run<T>(&self, work: impl AsyncFnOnce(&Admin) -> Result<T>) -> Result<T> {
        self.runtime.block_on(work(&self.admin))
    }

    /// The same while the API server asks no webhook about objects.
    pub(crate) fn without_webhooks<T>(&self, work: impl AsyncFnOnce(&Admin) -> Result<T>) -> Result<T> {
        self.run(async |admin| {
            let api = admin.of_cluster("admissionregistration.k8s.io", "ValidatingWebhookConfiguration");
            let mut saved = api.get(CONFIGURATION).await?;
            saved.metadata.resource_version = None;
            saved.metadata.managed_fields = None;
            saved.metadata.uid = None;
            api.delete(CONFIGURATION, &kube::api::DeleteParams::default()).await?;
            let done = work(admin).await;
            api.create(&kube::api::PostParams::default(), &saved).await?;
            done
        })
    }

    /// The same while the definitions have no rule and no bound either: as if objects were stored by a version that had
    /// other ones.
    pub(crate) fn without_rules<T>(&self, work: impl AsyncFnOnce(&Admin) -> Result<T>) -> Result<T> {
        self.without_webhooks(async |admin| {
            let mut saved = Vec::new();
            for plural in RULED {
                saved.push(change_versions(admin, plural, strip).await?);
            }
            let done = work(admin).await;
            for (plural, before) in RULED.into_iter().zip(saved) {
                change_versions(admin, plural, |versions| *versions = before.clone()).await?;
            }
            done
        })
    }
}

/// Changes the versions of a definition; gives what they were.
async fn change_versions(admin: &Admin, plural: &str, change: impl Fn(&mut Value)) -> Result<Value> {
    let api = admin.of_cluster("apiextensions.k8s.io", "CustomResourceDefinition");
    let name = format!("{plural}.metallb.io");
    // The webhook server may write its caBundle at the same time.
    until(&format!("the definition of {plural} to be written"), async || {
        let mut definition = api.get(&name).await?;
        let before = definition.data["spec"]["versions"].clone();
        change(&mut definition.data["spec"]["versions"]);
        api.replace(&name, &kube::api::PostParams::default(), &definition).await?;
        Ok(before)
    })
    .await
}

/// Takes the rules and bounds out of a schema.
fn strip(schema: &mut Value) {
    const RULES: [&str; 6] =
        ["x-kubernetes-validations", "minimum", "maximum", "minItems", "maxItems", "maxLength"];
    match schema {
        Value::Object(fields) => {
            fields.retain(|field, _| !RULES.contains(&field.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

impl Shared for Suite {
    const SUITE: &'static str = "webhook";

    fn cluster(&self) -> &Cluster {
        &self.world.cluster
    }
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        // To list the tests no cluster is needed.
        let all = [GUARDED.concat(), TOGETHER.concat(), UNGUARDED.concat()].concat();
        return Ok(libtest_mimic::run(&arguments, trials(&all, None)).exit_code());
    }
    let start = Instant::now();
    let alive = suite::limit(BUDGET);
    let options = Options { nodes: 1, ..Options::new(&format!("test-webhook-{}", std::process::id())) };
    let suite = Arc::new(Suite::new(Cluster::up(&options)?)?);
    alive.get_or_init(|| Arc::downgrade(&suite));
    if let Err(error) = prepare(&suite) {
        collect(&suite.world.cluster, Suite::SUITE);
        return Err(error.context("preparing the cluster"));
    }
    println!("cluster ready after {:.0?}", start.elapsed());

    let mut failed = false;
    for (tests, threads) in [(GUARDED.concat(), 1), (TOGETHER.concat(), 4), (UNGUARDED.concat(), 1)] {
        arguments.test_threads = Some(threads);
        failed |= libtest_mimic::run(&arguments, trials(&tests, Some(&suite))).has_failed();
        println!("{:.0?} have passed", start.elapsed());
    }
    if failed {
        collect(&suite.world.cluster, Suite::SUITE);
    }
    let suite = Arc::into_inner(suite).context("a test still holds the cluster")?;
    for figure in suite.figures.into_inner().unwrap_or_else(PoisonError::into_inner) {
        println!("{figure}");
    }
    drop(suite.runtime);
    suite.world.cluster.down()?;
    println!("suite webhook took {:.0?} of {BUDGET:?}", start.elapsed());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Gives the cluster the operator and the MetalLB resource.
fn prepare(suite: &Suite) -> Result<()> {
    suite.world.cluster.install()?;
    suite.world.mission("metallb.yaml")?;
    suite.world.wait_available()
}
