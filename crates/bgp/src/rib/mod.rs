//! What a peer is told: the Adj-RIB-Out (RFC 4271 §3.2).
//!
//! ```text
//!   Service A ─► 192.0.2.0/24, community 1 ─┐
//!   Service B ─► 192.0.2.0/24, community 2 ─┴─► Aggregates ─► 192.0.2.0/24, communities 1 and 2 ─┐
//!                                                                                                ▼
//!   bytes for the socket ◄─ next_message ◄─ pending: by family, attributes, prefix ◄────── AdjRibOut
//! ```
//!
//! Nothing is queued: a prefix is pending or not, and what is said of it is what is wanted at the time of saying. So a
//! slow peer costs no memory, and what is announced and withdrawn before the peer listens is never said.

mod aggregates;
mod intern;
mod out;
mod outbound;
mod route;

pub use aggregates::Aggregates;
pub use out::{AdjRibOut, Counts};
pub use outbound::Outbound;
pub use route::{Change, DEFAULT_LOCAL_PREF, Route};
