//! The inputs of the fuzz targets, taken again: each is a frame that a responder takes without a panic, and what parses
//! is written back to the same.

use std::net::IpAddr;
use std::time::Duration;

use l2::{Input, Instant, Link, Responder, arp, ethernet, ndp};
use net::MacAddr;

/// Every input of a target, with its name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("the corpus is in the project");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.map(|path| (path.display().to_string(), std::fs::read(&path).expect("a file"))).collect()
}

/// What a responder that holds those addresses does with the frame: how many frames it sends.
fn take(bytes: &[u8], held: &[IpAddr]) -> usize {
    let link = Link { mac: MacAddr([2, 0, 0, 0, 0, 1]), carrier: true, arp: true, ndp: true };
    let mut responder = Responder::new(link);
    let mut out = Vec::new();
    let at = Instant::from_origin(Duration::from_secs(10));
    for &address in held {
        responder.handle(at, Input::Take(address), &mut out);
    }
    out.clear();
    responder.handle(at, Input::Frame(bytes), &mut out);
    out.len()
}

#[test]
fn the_arp_frames_of_the_fuzz_target_are_taken() {
    let inputs = corpus("arp");
    assert!(inputs.len() >= 5, "the samples are there");
    let (mut read, mut answered) = (0, 0);
    for (name, bytes) in inputs {
        let Ok(frame) = ethernet::Frame::parse(&bytes) else { continue };
        let mut held = Vec::new();
        if let Ok(packet) = arp::Packet::parse(frame.payload) {
            assert_eq!(arp::Packet::parse(&packet.build()), Ok(packet), "{name}");
            held = vec![packet.target_ip.into(), packet.sender_ip.into()];
            read += 1;
        }
        let sent = take(&bytes, &held);
        assert!(sent <= 1, "{name}: {sent} frames");
        answered += sent;
    }
    assert!(read >= 5 && answered >= 3, "{read} read, {answered} answered");
}

#[test]
fn the_neighbor_messages_of_the_fuzz_target_are_taken() {
    let inputs = corpus("ndp");
    assert!(inputs.len() >= 5, "the samples are there");
    let (mut read, mut answered) = (0, 0);
    for (name, bytes) in inputs {
        let Ok(frame) = ethernet::Frame::parse(&bytes) else { continue };
        let mut held: Vec<IpAddr> = Vec::new();
        if let Ok(packet) = ndp::Packet::parse(frame.payload) {
            assert_eq!(ndp::Packet::parse(&packet.build()), Ok(packet), "{name}");
            let (ndp::Message::Solicitation { target, .. } | ndp::Message::Advertisement { target, .. }) =
                packet.message;
            held = vec![target.into(), packet.source.into()];
            read += 1;
        }
        let sent = take(&bytes, &held);
        assert!(sent <= 1, "{name}: {sent} frames");
        answered += sent;
    }
    assert!(read >= 5 && answered >= 4, "{read} read, {answered} answered");
}
