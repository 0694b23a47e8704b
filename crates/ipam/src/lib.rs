//! Who has which address: pools, allocation, sharing.
//!
//! ```text
//! pools ──set_pools──▶ Allocator ◀──adopt (what a Service has), allocate (what it asks for), extend, release
//!                        │    ▲
//!                        │    └────wait (what it could not get), next_waiter (whom an address would help)
//!                        │
//!                        └─▶ addresses and their pool, or why not; how many are in use
//! ```
//!
//! Nothing here knows of Kubernetes. The outcome depends only on the calls and their order; pools of equal priority
//! are tried in the order of their names, addresses from the lowest.
//!
//! A call for one Service costs O(log n) of the number of addresses and Services, whatever the size of the pools. Of
//! the pools only those are asked whose rules name something that the Service has, and which are not full.
#![forbid(unsafe_code)]

mod allocator;
mod directory;
mod error;
mod group;
mod hash;
mod labels;
mod pool;
mod pools;
mod record;
mod request;
mod search;
mod slots;
mod spot;
mod waiting;

pub use allocator::{Allocation, Allocator, Usage};
pub use error::{Error, QuotedList};
pub use labels::{Labels, Requirement, Selector, Test};
pub use pool::{Pool, ServiceAllocation, is_buggy};
pub use request::{Families, Port, Protocol, Request, Sharing, Subject};
pub use waiting::Waiter;
