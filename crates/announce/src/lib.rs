//! What this node announces, and why not.
//!
//! ```text
//! Services ─────┐
//! slices ───────┤ reduce    ┌─────────┐ touched keys          ┌──────────┐
//! Nodes ────────┼──────────►│  Index  ├───────► decide(key) ─►│  Claims  ├─► addresses whose place changed:
//! speakers ─────┤           └─────────┘       Elect | Not     └──────────┘   who may hold them, and where
//! Config ───────┘
//! ```
//!
//! Every speaker keeps the same index and comes to the same order of candidates for each Service; who of them holds an
//! address is agreed on by `membership`. A change gives the keys of the Services whose decision it may alter, so that one Service's change costs as
//! much as that Service.
//!
//! Where nobody is elected for a reason that a person can mend, that is an [`Obstacle`]: all speakers see the same, and
//! one of them, the spokesman, tells.
#![forbid(unsafe_code)]

mod bgp;
mod claims;
mod decision;
mod index;
mod obstacle;
mod reduce;

pub use crate::bgp::{Ask, BgpAnnouncement, BgpDecision, BgpReason, Conflict, Unheard};
pub use claims::{Claim, Claims, Place};
pub use decision::{CANDIDATES, Decision, Election, Interfaces, Reason, Shortage};
pub use index::{Index, Settings};
pub use obstacle::Obstacle;
pub use reduce::{Node, Service, ServiceKey, Slice, SliceKey, member_node};
