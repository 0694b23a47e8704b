//! How fast routes become messages, and what they cost in memory: `cargo bench -p bgp`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::packet::{Community, Families, NextHop, PerFamily};
use bgp::rib::{AdjRibOut, Aggregates, Change, Outbound, Route};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

const PREFIXES: u32 = 10_000;
const PEERS: u32 = 100;
const PREFIXES_OF_PEER: u32 = 1_000;
const RUNS: usize = 21;

/// The memory of this process that is resident, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("every process has some");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1_024
}

fn outbound() -> Outbound {
    let v6 = NextHop::Address("2001:db8::1".parse().expect("an address"));
    Outbound {
        internal: false,
        local_asn: 64_512,
        four_octet_as: true,
        families: Families::BOTH,
        next_hops: PerFamily {
            v4: Some(NextHop::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))),
            v6: Some(v6),
        },
        end_of_rib: true,
        enhanced_refresh: true,
    }
}

fn v4(number: u32) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from_bits(0x0a00_0000 + number), 32))
}

fn v6(number: u32) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert((0x2001_0db8_u128 << 96 | u128::from(number)).into(), 128))
}

fn route(community: u16) -> Arc<Route> {
    Arc::new(Route { communities: [Community::new(64_512, community)].into(), ..Route::default() })
}

fn filled(prefix: fn(u32) -> IpNet, count: u32) -> AdjRibOut {
    let (mut rib, route) = (AdjRibOut::new(), route(1));
    for number in 0..count {
        rib.change(&Change { prefix: prefix(number), route: Some(Arc::clone(&route)) });
    }
    rib
}

/// All messages: how many, and the length of the longest.
fn drain(rib: &mut AdjRibOut) -> (usize, usize) {
    let (mut count, mut longest) = (0, 0);
    while let Some(message) = rib.next_message() {
        count += 1;
        longest = longest.max(message.len());
        black_box(message);
    }
    (count, longest)
}

/// The median of the times that `run` takes.
fn median(mut run: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn main() {
    // First, as memory that others gave back would not be seen to be taken.
    many_peers();
    one_peer();
    one_change();
}

/// Many peers that are told the same.
fn many_peers() {
    let shared: Vec<Change> =
        (0..PREFIXES_OF_PEER).map(|number| Change { prefix: v4(number), route: Some(route(1)) }).collect();
    let before = resident();
    let start = Instant::now();
    let mut peers: Vec<AdjRibOut> = (0..PEERS).map(|_| AdjRibOut::new()).collect();
    let mut messages = 0;
    for rib in &mut peers {
        for change in &shared {
            rib.change(change);
        }
        rib.up(outbound());
        messages += drain(rib).0;
    }
    let time = start.elapsed();
    let memory = resident().saturating_sub(before);
    println!(
        "{PEERS} peers x {PREFIXES_OF_PEER} prefixes: {messages} messages in {time:.1?}, {:.1} MB more are resident",
        f64::from(u32::try_from(memory).expect("below 4 GB")) / 1e6
    );
    drop(peers);
}

/// All prefixes to a fresh peer, and their withdrawal.
fn one_peer() {
    for (name, prefix) in [("IPv4", v4 as fn(u32) -> IpNet), ("IPv6", v6)] {
        let (mut messages, mut withdrawals) = ((0, 0), (0, 0));
        let announce = median(|| {
            let mut rib = filled(prefix, PREFIXES);
            let start = Instant::now();
            rib.up(outbound());
            messages = drain(&mut rib);
            start.elapsed()
        });
        let withdraw = median(|| {
            let mut rib = filled(prefix, PREFIXES);
            rib.up(outbound());
            drain(&mut rib);
            let start = Instant::now();
            for number in 0..PREFIXES {
                rib.change(&Change { prefix: prefix(number), route: None });
            }
            withdrawals = drain(&mut rib);
            start.elapsed()
        });
        println!(
            "{PREFIXES} {name} prefixes of one kind to a fresh peer: {} messages of at most {} bytes, End-of-RIB included, in {announce:.1?}",
            messages.0, messages.1
        );
        println!(
            "withdrawn again: {} messages of at most {} bytes in {withdraw:.1?}",
            withdrawals.0, withdrawals.1
        );
    }
}

/// One change among many prefixes.
fn one_change() {
    let mut rib = filled(v4, PREFIXES);
    rib.up(outbound());
    drain(&mut rib);
    let routes = [route(2), route(3)];
    let mut number = 0;
    let change = median(|| {
        number += 1;
        let start = Instant::now();
        rib.change(&Change { prefix: v4(17), route: Some(Arc::clone(&routes[number % 2])) });
        assert_eq!(drain(&mut rib).0, 1);
        start.elapsed()
    });
    println!("one change at {PREFIXES} prefixes, to its message: {change:.1?}");

    let mut aggregates = Aggregates::new();
    let (aggregate, mut changes): (IpNet, _) = ("10.0.0.0/8".parse().expect("a prefix"), Vec::new());
    for who in 0..PREFIXES {
        aggregates.set(who, [(v4(who), route(1)), (aggregate, route(1))], &mut changes);
    }
    let change = median(|| {
        changes.clear();
        let start = Instant::now();
        aggregates.remove(17, &mut changes);
        aggregates.set(17, [(v4(17), route(1)), (aggregate, route(1))], &mut changes);
        start.elapsed()
    });
    println!("one of {PREFIXES} Services in an aggregate goes and comes: {change:.1?}");
}
