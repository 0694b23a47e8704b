//! The speaker: what this node announces, announced.
//!
//! ```text
//!  API server ──watches──┐                         ┌──► interface tasks: sockets + l2::Responder, one per link
//!  kernel ─────links─────┼──► Core ────effects─────┼──► events on Services
//!  interface tasks ──────┘   (one task owns it)    ├──► status task: ServiceL2Status objects
//!                                                  ├──► state task: this node's ConfigurationState
//!                                                  └──► counts ──► metrics over HTTPS
//! ```
//!
//! The core decides without I/O ([`core`]); the tasks around it carry. Nothing is announced before every
//! watched kind has been listed once; once it is, an API server that goes away changes nothing.

pub mod args;
pub mod core;
pub mod counts;
pub mod exclude;
pub mod interface;
mod run;
pub mod state;
pub mod status;
mod watches;

pub use run::run;
