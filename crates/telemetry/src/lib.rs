//! How a program tells what it does: log lines, and probes for the kubelet.

mod filter;
mod json;
mod level;
mod probes;

pub use json::init;
pub use level::{LogLevel, ParseLogLevelError};
pub use probes::{Probes, ServeError};
