//! Addresses and times as the load balancer sees them: families, ranges, prefixes, MAC addresses, instants.
//!
//! Pure values and arithmetic; nothing here knows of Kubernetes or of a socket, or reads a clock.
#![forbid(unsafe_code)]

mod family;
mod instant;
mod mac;
mod range;

pub use family::Family;
pub use instant::Instant;
pub use mac::{MacAddr, ParseMacError};
pub use range::{IpRange, ParseRangeError};
