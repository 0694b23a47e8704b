//! How long allocation takes, each figure with its bound: `cargo xtask bench ipam`. Fails where one is missed.

#[path = "allocation/worlds.rs"]
mod worlds;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipam::{Allocator, Pool};
use worlds::{Name, Service, mixed_pools, one_pool, services};

/// Services that get an address each.
const SERVICES: usize = 100_000;

/// How often the table is filled from nothing. The median of these counts.
const FILLS: usize = 9;

/// How many Services give back their address and get another, one after the other, after each fill.
const EXCHANGES: usize = 20_000;

/// What was measured of one world of pools.
struct Figures {
    /// All Services get an address, by run.
    fills: Vec<Duration>,
    /// One Service gives its address back and gets another, on average, by run.
    exchanges: Vec<Duration>,
}

/// One line of the output.
struct Line {
    what: &'static str,
    took: Duration,
    bound: Option<Duration>,
    runs: usize,
}

fn main() -> ExitCode {
    let services = services(SERVICES);
    let (one, many) = (measure(&one_pool(), &services), measure(&mixed_pools(), &services));
    let each = |figures: &Figures| median(&figures.fills) / u32::try_from(SERVICES).expect("a small number");
    let bound = |micros| Some(Duration::from_micros(micros));
    let lines = [
        ("100,000 allocations into a /12", median(&one.fills), bound(100_000)),
        ("freeing and allocating one at that fill", median(&one.exchanges), bound(2)),
        ("100,000 allocations with 1,000 pools of mixed selectors", median(&many.fills), None),
        ("one of these allocations", each(&many), bound(20)),
        ("freeing and allocating one at that fill", median(&many.exchanges), bound(20)),
    ];
    let mut kept = true;
    for (what, took, bound) in lines {
        let line = Line { what, took, bound, runs: FILLS };
        kept &= line.is_kept();
        println!("{line}");
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(pools: &[Pool], services: &[Service]) -> Figures {
    let mut figures = Figures { fills: Vec::new(), exchanges: Vec::new() };
    for _ in 0..FILLS {
        let mut allocator = Allocator::new();
        allocator.set_pools(pools.iter().cloned());
        let begun = Instant::now();
        for service in services {
            get(&mut allocator, service);
        }
        figures.fills.push(begun.elapsed());

        let begun = Instant::now();
        // A step that has no factor in common with their number goes round all of them without an order.
        for place in (0..EXCHANGES).map(|turn| turn * 7_919 % services.len()) {
            let service = &services[place];
            black_box(allocator.release(&service.name)).expect("it has an address");
            get(&mut allocator, service);
        }
        figures.exchanges.push(begun.elapsed() / u32::try_from(EXCHANGES).expect("a small number"));
    }
    figures
}

fn get(allocator: &mut Allocator<Name>, service: &Service) {
    black_box(allocator.allocate(&service.name, service.subject(), Service::REQUEST))
        .expect("there are more addresses than Services");
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

impl Line {
    fn is_kept(&self) -> bool {
        self.bound.is_none_or(|bound| self.took <= bound)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:.2?}", self.what, self.took)?;
        if let Some(bound) = self.bound {
            let verdict = if self.is_kept() { "" } else { ", MISSED" };
            write!(f, ", at most {bound:.0?}{verdict}")?;
        }
        write!(f, " (median of {})", self.runs)
    }
}
