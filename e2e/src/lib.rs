//! A real Kubernetes cluster on one machine, for the end-to-end tests and the demo: without
//! Docker, virtual machines or images from a registry.
//!
//! [`Cluster::up`] starts one that lives as long as the value (or until it is killed with its
//! owner); [`Cluster::attach`] takes hold of one that somebody else started, such as
//! `e2e up`. Tests speak to it as users do: `kubectl`, commands on hosts of the LAN, and
//! the faults of [`Cluster::cut`], [`Cluster::pause`], [`Cluster::kill`] and friends.
//!
//! `README.md` beside this crate says how the cluster is made and how to look inside.

mod artifacts;
mod certificates;
mod cgroup;
mod cluster;
pub mod demo;
mod diagnostics;
mod faults;
pub mod flows;
mod go;
mod helm;
mod images;
mod inner;
mod install;
mod instance;
mod observer;
mod olm;
mod packages;
pub mod plan;
mod preflight;
mod process;
mod progress;
mod wait;

pub use artifacts::{build, test_images};
pub use cluster::{Cluster, Options, Spawned};
pub use helm::helm;
pub use inner::{run as run_inner, runner::UnitStatus};
pub use install::manifest;
pub use instance::Instance;
pub use observer::{Claim, Observer};
pub use olm::{CATALOG, OLM_NAMESPACE, Olm, OlmPrograms};
pub use packages::install as install_packages;
pub use preflight::check as preflight;
pub use progress::Progress;
pub use wait::{end_after, wait_for};
