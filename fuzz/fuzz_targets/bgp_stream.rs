//! The bytes of a BGP connection, cut into messages: see `crates/bgp/tests/checks`.
#![no_main]

#[path = "../../crates/bgp/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::stream(bytes));
