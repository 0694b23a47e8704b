//! Layer 2: how one node makes the LAN send it the traffic of a Service's address.
//!
//! ```text
//!   frame ──► ethernet ──► arp ──┐                     ┌──► Send(frame)        a reply, an announcement, a defence
//!                     └──► ndp ──┴──► Responder ───────┼──► Join / Leave       solicited-node groups
//!   Take, Release, Link, Timeout ───►   (one per link) └──► Conflict           someone else claims our address
//!
//!   election: which node of the candidates is the one
//! ```
//!
//! Everything here is sans-I/O: bytes, addresses and times come in, bytes and facts go out. No function
//! panics or fails on what a network may send.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod arp;
pub mod election;
pub mod ethernet;
pub mod ndp;
pub mod probe;
mod responder;
mod schedule;

pub use net::Instant;
pub use responder::{Cause, Input, Link, Output, Responder};
pub use schedule::{ADVERTISEMENT_OFFSETS, CONFLICT_DELAY, DEFENCE_INTERVAL, GRATUITOUS_OFFSETS};
