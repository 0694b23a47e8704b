//! What the API server asks us: to judge objects before it stores them, and to convert them between versions.
//!
//! ```text
//! API server ──TLS──▶ Server ──▶ Routes ──▶ a program's reviewers and converter
//!                       ▲
//!                  CertResolver ◀── rotate() ◀──watch── Secret shared by all replicas
//!                                      └──patch──▶ caBundle of webhook configurations and of a CRD's conversion
//! ```
//!
//! A certificate from files needs no [`rotate`]: `CertResolver::from_directory` of the crate `tls` follows those.

mod admission;
mod conversion;
mod pki;
mod rotation;
mod routes;
mod server;

pub use admission::{AdmissionRequest, Decision};
pub use rotation::{Readiness, RotationConfig, RotationPolicy, Target, rotate};
pub use routes::Routes;
pub use server::{BindError, Limits, Respond, Server, ServerConfig};
