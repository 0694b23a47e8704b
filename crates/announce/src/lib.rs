//! What this node announces, and why not.
//!
//! ```text
//! Services ─────┐
//! slices ───────┤ reduce    ┌─────────┐ touched keys          ┌──────────┐
//! Nodes ────────┼──────────►│  Index  ├───────► decide(key) ─►│ Holdings ├─► addresses that changed
//! members ──────┤           └─────────┘      Announce | Not   └──────────┘   and their interfaces
//! Config ───────┘
//! ```
//!
//! Every speaker keeps the same index and comes to the same election; each acts on its own name only. A change
//! gives the keys of the Services whose decision it may alter, so that one Service's change costs as
//! much as that Service.
//!
//! Where nobody is elected for a reason that a person can mend, that is an [`Obstacle`]: all speakers see the same, and
//! one of them, the spokesman, tells.
#![forbid(unsafe_code)]

mod decision;
mod holdings;
mod index;
mod obstacle;
mod reduce;

pub use decision::{Announcement, Decision, Interfaces, Reason, Shortage};
pub use holdings::Holdings;
pub use index::{Index, Settings};
pub use obstacle::Obstacle;
pub use reduce::{Node, Service, ServiceKey, Slice, SliceKey, member_node};
