//! Addresses as the load balancer sees them: families, ranges, prefixes and MAC addresses.
//!
//! Pure values and arithmetic; nothing here knows of Kubernetes or of a socket.
#![forbid(unsafe_code)]

mod family;
mod mac;
mod range;

pub use family::Family;
pub use mac::{MacAddr, ParseMacError};
pub use range::{IpRange, ParseRangeError};
