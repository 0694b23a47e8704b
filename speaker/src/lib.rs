//! The speaker: what this node announces, announced.
//!
//! ```text
//!  API server ──watches──┐                         ┌──► failover thread: membership, with the other speakers
//!  kernel ─────links─────┼──► Core ────effects─────┤         └──► front ──► interface tasks: l2::Responder, one per link
//!  interface tasks ──────┤   (one task owns it)    ├──► events on Services
//!  failover thread ──────┤                         ├──► peer tasks: TCP + bgp::Session, one per BGPPeer
//!  peer tasks ───────────┘                         ├──► status tasks: ServiceL2Status, ServiceBGPStatus objects
//!                                                  ├──► state task: this node's ConfigurationState
//!                                                  ├──► roster task: the list of speakers
//!                                                  └──► counts ──► metrics over HTTPS
//! ```
//!
//! The core decides without I/O ([`core`]); the tasks around it carry. Nothing is announced before every
//! watched kind has been listed once; once it is, an API server that goes away changes nothing.

pub mod args;
pub mod bgp;
mod board;
pub mod core;
pub mod counts;
pub mod exclude;
pub mod failover;
pub mod front;
pub mod interface;
mod leaving;
mod owner;
pub mod roster;
mod run;
pub mod state;
pub mod status;
mod watches;

pub use run::run;
