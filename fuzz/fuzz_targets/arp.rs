//! Frames on the ARP socket: a packet that parses is written back to the same, and a responder that holds the
//! address that is asked for takes any bytes without a panic, and answers one frame with one.
#![no_main]

use std::net::Ipv4Addr;
use std::time::Duration;

use l2::{Input, Instant, Link, Output, Responder, arp, ethernet};
use libfuzzer_sys::fuzz_target;
use net::MacAddr;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = ethernet::Frame::parse(bytes) else { return };
    let link = Link { mac: MacAddr([2, 0, 0, 0, 0, 1]), carrier: true, arp: true, ndp: true };
    let mut responder = Responder::new(link);
    let mut out = Vec::new();
    let start = Instant::from_origin(Duration::from_secs(10));
    let mut held = vec![Ipv4Addr::new(192, 0, 2, 1)];
    if let Ok(packet) = arp::Packet::parse(frame.payload) {
        let written = packet.frame(frame.destination);
        let again = ethernet::Frame::parse(&written).expect("what is written is a frame");
        assert_eq!(arp::Packet::parse(again.payload), Ok(packet));
        held.push(packet.target_ip);
        held.push(packet.sender_ip);
    }
    for address in held {
        responder.handle(start, Input::Take(address.into()), &mut out);
    }
    out.clear();
    // The schedule is over: what is sent now follows from the frame.
    let later = start + Duration::from_secs(60);
    while responder.poll_timeout().is_some_and(|at| at <= later) {
        responder.handle(later, Input::Timeout, &mut out);
    }
    out.clear();
    responder.handle(later, Input::Frame(bytes), &mut out);
    let sent = out.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    assert!(sent <= 1, "one question, one answer");
    while let Some(at) = responder.poll_timeout() {
        responder.handle(at, Input::Timeout, &mut out);
    }
});
