//! A seeded event-queue network for tests of the protocol cores.
//!
//! One seed gives one history, to the microsecond: a seed that fails is the bug report. Nodes are the shipped machine
//! of `membership`, each with a clock of its own that is up to 1% fast or slow; packets are lost, delayed, overtaken,
//! duplicated and cut off one way or both; nodes crash, pause and start again, with their disk or without; the
//! API's views reach each node up to 5 s late.
#![forbid(unsafe_code)]

mod plan;
mod rng;
mod world;

pub use plan::{Verdict, play};
pub use rng::Rng;
pub use world::{MILLI, Micros, Move, Node, SECOND, Scene, World};
