//! A BGP session and whatever a peer may send: see `crates/bgp/tests/checks`.
#![no_main]

#[path = "../../crates/bgp/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::session(bytes));
