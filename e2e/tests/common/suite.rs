//! What the suites on clusters of their own have in common: how tests are named and run, and what is kept where one fails.

use std::path::Path;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::Result;
use e2e::{Cluster, end_after};
use libtest_mimic::{Failed, Trial};

/// What the tests of a suite share.
pub(crate) trait Shared: Send + Sync + 'static {
    /// The name of the suite.
    const SUITE: &'static str;

    /// The cluster that they run on.
    fn cluster(&self) -> &Cluster;
}

/// A test.
pub(crate) type Test<W> = fn(&W) -> Result<()>;

/// Tests of a module, with their names. The suite calls its own kind of them `Test`.
macro_rules! tests {
    ($module:ident: $($name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as Test)),*]
    };
}

/// The tests as the runner takes them.
pub(crate) fn trials<W: Shared>(tests: &[(&'static str, Test<W>)], shared: Option<&Arc<W>>) -> Vec<Trial> {
    tests
        .iter()
        .map(|&(name, test)| {
            let shared = shared.cloned();
            Trial::test(name, move || {
                let shared = shared.ok_or_else(|| Failed::from("there is no cluster"))?;
                test(&shared).map_err(|error| Failed::from(format!("{error:?}")))
            })
        })
        .collect()
}

/// Ends the program when its time is used up. What is entered in the place that this gives is kept then.
pub(crate) fn limit<W: Shared>(budget: Duration) -> Arc<OnceLock<Weak<W>>> {
    let alive: Arc<OnceLock<Weak<W>>> = Arc::default();
    let watched = Arc::clone(&alive);
    end_after(budget, move || {
        if let Some(shared) = watched.get().and_then(Weak::upgrade) {
            collect(shared.cluster(), W::SUITE);
        }
    });
    alive
}

/// Keeps what explains a failure, and says where.
pub(crate) fn collect(cluster: &Cluster, suite: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build/diagnostics").join(suite);
    match cluster.collect(&folder) {
        Ok(()) => eprintln!("what the cluster was like: {}", folder.display()),
        Err(error) => eprintln!("what the cluster was like is lost: {error:#}"),
    }
}
