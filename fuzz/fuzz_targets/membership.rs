//! The parser of membership packets, in the clear: what it takes it writes back to the same bytes, and a running
//! machine takes it without a panic.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use membership::packet::{self, LinkId};
use membership::{Input, Machine, NodeId, Settings};

fuzz_target!(|bytes: &[u8]| {
    let Ok((header, body)) = packet::parse_header(bytes, packet::VERSION) else { return };
    let Ok(packet) = packet::parse_body(&header, body) else { return };
    let mut written = Vec::new();
    packet::write_body(header.version, &packet, &mut written);
    assert_eq!(packet::parse_body(&header, &written), Ok(packet.clone()));
    let now = l2::Instant::from_origin(Duration::from_secs(10));
    let settings = Settings { node: packet.to, ..Settings::default() };
    let mut machine = Machine::new(settings, l2::Instant::default());
    let mut outputs = Vec::new();
    machine.handle(now, Input::Speakers { revision: 1, nodes: vec![packet.to, NodeId(7)] }, &mut outputs);
    machine.handle(now, Input::Packet { link: LinkId(0), packet }, &mut outputs);
});
