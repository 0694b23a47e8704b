//! The kernel's side of announcing: raw frames, multicast groups, connections to routers, links, the clock.
//!
//! Thin: what a frame means is the business of the pure crates. This is the only crate with unsafe code, each
//! piece of it with the reason why it is sound.
#![allow(unsafe_code, reason = "socket options and addresses that no safe crate offers")]

mod age;
mod clock;
mod filter;
mod groups;
mod link_state;
mod links;
mod local;
mod member;
mod packet;
mod tcp;

pub use clock::boot_time;
pub use filter::Traffic;
pub use groups::Groups;
pub use link_state::{Hindrance, Link, LinkChange};
pub use links::{LinkWatch, WatchError};
pub use local::{NearbyAddresses, nearby_addresses, source_towards};
pub use member::MemberSocket;
pub use packet::{PacketSocket, STALE};
pub use tcp::{Hops, MAX_KEY, TcpOptions, accepted_tcp, connect_tcp, limit_hops, listen_tcp, sign};
