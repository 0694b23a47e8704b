//! BGP-4 for one who only announces: messages, sessions, and what was told to whom.
//!
//! ```text
//!   bytes of a connection ──► packet ──► Session ──► Connect, Send, Close       what the driver does
//!   Connected, Closed, Timeout, Configure ─► │  └──► StateChanged, Established  what a user is told
//!                                            ▼
//!   wanted routes ──► Aggregates ──────► AdjRibOut ──► next_message             UPDATEs, as the socket takes them
//! ```
//!
//! Everything here is sans-I/O: bytes, times and wishes come in, bytes and facts go out. No function panics or fails
//! on what a peer may send. Routes that are received are checked, as the RFCs demand, counted and dropped.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod packet;
pub mod rib;
pub mod session;

pub use net::Instant;
