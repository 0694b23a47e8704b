//! The controller: Services of type LoadBalancer get addresses from IPAddressPools.
//!
//! ```text
//! Services, Namespaces, IPAddressPools, L2Advertisements, Communities
//!        │ runtime: watches into one owner
//!        ▼
//! core: index ──▶ judge (one Service) ──▶ ipam ──▶ actions
//!        │ runtime: writers, outside the owner
//!        ▼
//! services/status, ipaddresspools/status, events, ConfigurationState, metrics
//! ```
//!
//! Everything that decides is in [`core`], without a clock or a network; `runtime` only carries.
#![forbid(unsafe_code)]

pub mod action;
mod admission;
mod args;
pub mod core;
mod gauges;
mod holder;
mod judge;
mod program;
mod runtime;
mod secret;
pub mod service;
mod state;
mod writer;

pub use admission::reviews_of;
pub use args::{Args, WebhookMode, WebhookOptions};
pub use program::run;
