//! `ServiceL2Status` and `ServiceBGPStatus` objects: which node announces a Service, kept true through outages of the API server.
//!
//! ```text
//! Want, Actual ──► Ledger ──Job──► API calls, a few at once
//!                    ▲               │
//!                    └──done, failed─┘  (failed: again after a pause)
//! ```

mod ledger;
mod object;
mod writer;

pub use ledger::{Job, Ledger};
pub use object::StatusObject;
pub use writer::{StatusInput, StatusWriter, object_name};
