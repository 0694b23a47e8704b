//! What every program of ours needs of a Kubernetes API server and kube does not give as we need it.
//!
//! ```text
//! watch() ──Change──▶ the program's own index     Gate: no decision before every first list is in
//! EventRecorder ──▶ core/v1 Events, in order, counted as client-go counts them
//! LeaderElector ──▶ one active replica, a clean stop hands over at once
//! client(), shutdown_signal(): how a program starts and ends
//! ```
//!
//! What decides anything here (which keys vanished in a relist, which Event a repetition belongs to, whether a
//! Lease may be taken) is a plain struct or function without input or output; the tasks around them only carry.

mod backoff;
mod client;
mod events;
mod gate;
mod key;
mod lease;
mod placement;
mod signal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod watch;

pub use backoff::Backoff;
pub use client::{ClientError, client};
pub use events::{EventKind, EventRecorder, object_reference};
pub use gate::Gate;
pub use key::ObjectKey;
pub use lease::{Candidacy, LeaderConfig, LeaderElector, Leadership, Tenure};
pub use placement::wants_pod;
pub use signal::shutdown_signal;
pub use watch::{Change, Relist, watch, watch_config, watch_relisting};
