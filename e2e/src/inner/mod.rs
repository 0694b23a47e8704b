//! The processes that are a cluster. The same binary runs as each of them:
//!
//! ```text
//! owner (a test, `e2e up`)            the pipe on its stdin says whether the owner lives
//! └─ keeper       outside             locks, renders, cleans up when all has ended
//!    ├─ reaper      outside             cleans up when the keeper was killed
//!    └─ supervisor  PID 1 of the cluster's mount, network and PID namespaces: switches, cables
//!       └─ host       PID 1 of one host's namespaces: addresses, mounts, programs
//! ```
//!
//! Each ends with the one above it; only the reaper, and what was frozen, outlive the keeper, and the reaper
//! ends what was frozen and removes control groups and files. So nothing survives whatever one of them is
//! killed. Who kills keeper and reaper together leaves that to the next `up` or `down` of any instance.

pub(crate) mod control_plane;
pub(crate) mod forward;
pub(crate) mod host;
pub(crate) mod keeper;
pub(crate) mod node;
pub(crate) mod reaper;
pub(crate) mod runner;
pub(crate) mod signals;
pub(crate) mod spec;
pub(crate) mod supervisor;
pub(crate) mod unit;

use anyhow::{Result, bail};

/// Becomes the inner process of that role: `__keeper SPEC`, `__reaper INSTANCE`, `__supervisor SPEC` or
/// `__host SPEC NAME`. Not for users: [`crate::Cluster::up`] starts these.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [role, spec] if role == "__keeper" => keeper::run(&spec::Spec::from_json(spec)?),
        [role, instance] if role == "__reaper" => reaper::run(instance),
        [role, spec] if role == "__supervisor" => supervisor::run(&spec::Spec::from_json(spec)?),
        [role, spec, name] if role == "__host" => host::run(&spec::Spec::from_json(spec)?, name),
        _ => bail!("not an inner role: {arguments:?}"),
    }
}
