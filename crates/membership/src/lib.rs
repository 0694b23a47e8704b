//! Who may answer for an address: failure detection, leases and ownership among the speakers. docs/adr/0010 has the
//! protocol and why it is safe.
//!
//! ```text
//!  packets ──► keyring ──► receive ──► voter     whom this node supports, for which address
//!                             │          │ verdicts
//!                             ▼          ▼
//!  Speakers ──► electing    leases ◄── acks of this node's own heartbeats ──► may_answer(address, now)
//!  Address ───► places ───► ledger       what this node wants and holds ──► Take, Release
//!  Links ─────► links       watch        who is down, in a large cluster
//!  Timeout ───► ticks ────► heartbeats
//! ```
//!
//! Everything is sans-I/O: inputs and times come in, outputs go out, nothing fails or panics on what a network sends.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

mod alone;
mod electing;
mod electorate;
#[cfg(feature = "faults")]
mod fault;
mod id;
mod io;
mod leases;
mod ledger;
mod links;
mod machine;
pub mod packet;
mod peer;
mod places;
mod profile;
mod receive;
mod seal;
mod ticks;
mod voter;
mod watch;

pub use electorate::{Chain, Electorate, MAX_EPOCHS, MAX_VOTERS};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use id::{Incarnation, Life, NodeId};
pub use io::{Cause, Event, Input, Output, Settings};
pub use machine::Machine;
pub use profile::{GUARD, OnQuorumLoss, Profile, SETTLE};
pub use seal::{Keyring, Rejected};
