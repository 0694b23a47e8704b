//! Who has which address: pools, allocation, sharing.
//!
//! ```text
//! pools ──set_pools──▶ Allocator ◀──adopt (what a Service has), allocate (what it asks for), extend, release
//!                        │
//!                        └─▶ addresses and their pool, or why not; how many are in use
//! ```
//!
//! Nothing here knows of Kubernetes. The outcome depends only on the calls and their order; pools of equal priority
//! are tried in the order of their names, addresses from the lowest. No call costs more than O(log n) of the number
//! of addresses and Services, times the number of pools that have to be tried; the size of a pool does not matter.
#![forbid(unsafe_code)]

mod allocator;
mod error;
mod labels;
mod pool;
mod request;
mod search;
mod slots;

pub use allocator::{Allocation, Allocator, Usage};
pub use error::{Error, QuotedList};
pub use labels::{Labels, Requirement, Selector, Test};
pub use pool::{Pool, ServiceAllocation, is_buggy};
pub use request::{Families, Port, Protocol, Request, Sharing, Subject};
