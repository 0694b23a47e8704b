//! How soon ARP is answered and what foreign ARP costs, on a LAN of two network namespaces, each figure with its bound.
//! Fails where one is missed. Needs root.

#[path = "../../crates/sockets/tests/netns/mod.rs"]
mod netns;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use l2::{arp, ethernet};
use metrics::Metrics;
use net::MacAddr;
use netns::{Lan, OWN, OWN_MAC, PEER, PEER_MAC};
use nix::net::if_::if_nametoindex;
use nix::unistd::gettid;
use sockets::{PacketSocket, Traffic};
use speaker::core::Command;
use speaker::counts::Counts;
use speaker::interface::{Announcing, Interface};
use tokio::time::timeout;

/// Addresses that are held.
const ADDRESSES: u32 = 1_000;
/// Questions, one after the other.
const QUESTIONS: u32 = 20_000;
/// Foreign ARP requests a second, and for how long.
const FOREIGN: u32 = 20_000;
const SECONDS: u32 = 5;
/// From a question to its answer, in 99 of 100 cases.
const ANSWER: Duration = Duration::from_micros(200);
/// The part of a core that foreign ARP may cost the thread that answers.
const PART: f64 = 0.05;
/// Longer than any pause between announcements: after it they are over.
const QUIET: Duration = Duration::from_secs(3);

fn mac(text: &str) -> MacAddr {
    text.parse().expect("a MAC address")
}

fn held(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0000 + number)
}

fn main() -> ExitCode {
    let lan = Lan::new();
    let (tell, told) = mpsc::channel();
    // A thread of this namespace; it ends with the process.
    std::thread::spawn(move || {
        netns::run(async {
            let link = l2::Link { mac: mac(OWN_MAC), carrier: true, arp: true, ndp: true };
            let (reports, mut reported) = tokio::sync::mpsc::channel(8);
            let index = if_nametoindex(OWN).expect("the interface is there");
            let counts = Counts::new(&Metrics::new(), "bench");
            let interface = Interface::open(
                index,
                OWN.to_owned(),
                link,
                counts,
                reports,
                Arc::new(|_| true),
                Announcing::default(),
            );
            for number in 0..ADDRESSES {
                interface.tell(Command::Take(IpAddr::V4(held(number))));
            }
            tell.send(gettid()).expect("the main thread waits for it");
            while reported.recv().await.is_some() {}
        });
    });
    let thread = told.recv().expect("the thread has begun");
    let (answers, part) = lan.in_peer(move || netns::run(measure(thread)));
    let answer = |part: usize| answers.get(answers.len() * part / 100).copied().unwrap_or(Duration::MAX);
    println!(
        "ARP answers with {ADDRESSES} addresses held: p50 {:?}, p99 {:?} (bound {ANSWER:?}; {} questions)",
        answer(50),
        answer(99),
        answers.len()
    );
    println!(
        "{FOREIGN} foreign ARP requests a second: {:.2}% of a core (bound {:.0}%)",
        part * 100.0,
        PART * 100.0
    );
    if answer(99) <= ANSWER && part <= PART { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sorted times of the answers, and the part of a core that foreign requests took of the thread.
async fn measure(thread: nix::unistd::Pid) -> (Vec<Duration>, f64) {
    let index = if_nametoindex(PEER).expect("the interface is there");
    let socket = PacketSocket::open(index, Traffic::Arp).expect("opened");
    let mut buffer = [0; 2048];
    while timeout(QUIET, socket.receive(&mut buffer)).await.is_ok() {}
    let mut answers = Vec::new();
    for number in 0..QUESTIONS {
        // Scattered, not in the order in which they were taken.
        let target = held(number * 617 % ADDRESSES);
        let asked = Instant::now();
        socket.send(&question(target), || true).await.expect("sent");
        loop {
            let length =
                timeout(QUIET, socket.receive(&mut buffer)).await.expect("answered").expect("a frame");
            let frame = buffer.get(..length).and_then(|bytes| ethernet::Frame::parse(bytes).ok());
            let packet = frame.and_then(|frame| arp::Packet::parse(frame.payload).ok());
            if packet.is_some_and(|packet| packet.sender_ip == target) {
                break;
            }
        }
        answers.push(asked.elapsed());
    }
    answers.sort_unstable();
    let (before, begun) = (run_time(thread), Instant::now());
    for number in 0..FOREIGN * SECONDS {
        let due = begun + Duration::from_secs(1) / FOREIGN * number;
        while Instant::now() < due {
            std::thread::yield_now();
        }
        let target = Ipv4Addr::from_bits(0x0a00_0000 + number);
        socket.send(&question(target), || true).await.expect("sent");
    }
    let part = run_time(thread).saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    (answers, part)
}

fn question(target_ip: Ipv4Addr) -> Vec<u8> {
    let packet = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: mac(PEER_MAC),
        sender_ip: Ipv4Addr::new(192, 0, 2, 9),
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    packet.frame(MacAddr::BROADCAST)
}

/// How long the thread has run on a core (proc_pid_schedstat: the first number, in nanoseconds).
fn run_time(thread: nix::unistd::Pid) -> Duration {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path).expect("the thread runs, and the kernel counts");
    let nanos = text.split_whitespace().next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanos.expect("the first number"))
}
