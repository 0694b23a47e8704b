//! The controller's decisions, without a cluster: objects in, statuses and events out.

mod allocation;
mod configuration;
mod families;
mod random;
mod reports;
mod sharing;
mod world;
mod writes;
