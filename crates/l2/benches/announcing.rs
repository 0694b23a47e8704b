//! How long a responder takes for the first announcements of many addresses, with its bound. Fails where it is missed.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use l2::{Input, Link, Output, Responder};
use net::MacAddr;

/// Addresses that are taken at once.
const ADDRESSES: u32 = 10_000;
/// How often; the median counts.
const RUNS: usize = 9;
/// The first round of announcements of all of them.
const BOUND: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let v4 = |i: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + i));
    let v6 = |i: u32| IpAddr::from(Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(i)));
    let rounds = [first_round("IPv4", v4, 2), first_round("IPv6", v6, 1)];
    if rounds.iter().all(|took| *took <= BOUND) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Takes all addresses and makes their first announcements, of which each has so many frames; the median time.
fn first_round(family: &str, address: impl Fn(u32) -> IpAddr, frames: usize) -> Duration {
    let link = Link { mac: MacAddr([2, 0, 0, 0, 0, 1]), carrier: true, arp: true, ndp: true };
    let addresses: Vec<IpAddr> = (0..ADDRESSES).map(address).collect();
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let mut responder = Responder::new(link);
            let mut out = Vec::new();
            let at = l2::Instant::from_origin(Duration::from_secs(10));
            let begun = Instant::now();
            for &address in &addresses {
                responder.handle(at, Input::Take(address), &mut out);
            }
            let took = begun.elapsed();
            let sent = out.iter().filter(|output| matches!(output, Output::Send { .. })).count();
            assert_eq!(sent, addresses.len() * frames, "each address is announced at once");
            black_box(responder);
            took
        })
        .collect();
    times.sort_unstable();
    let median = times.get(RUNS / 2).copied().unwrap_or_default();
    println!(
        "first announcements of {ADDRESSES} {family} addresses: {median:?} (median of {RUNS}; bound {BOUND:?})"
    );
    median
}
