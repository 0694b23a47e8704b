//! How long it takes to read and validate a large configuration, and to judge a change to it: `cargo xtask bench config`.

mod common;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use api::IPAddressPool;
use common::{ADVERTISEMENTS, Large, PEERS, POOLS, Report, pool};
use config::{Change, Config, Index, Object, Resources};
use serde_json::from_value;

/// The figures are the medians of so many runs.
const RUNS: usize = 51;
/// To read and validate everything.
const BUILD: Duration = Duration::from_millis(20);
/// To judge one change: a thousandth of a second for each of 2,000 a second on two processors.
const REVIEW: Duration = Duration::from_millis(1);
/// How much more than the work of O(n) there may be for eight times as many pools.
const GROWTH: f64 = 2.0;

fn main() -> ExitCode {
    let mut report = Report::default();
    let large = Large::new();
    let resources = large.resources();
    let config = Config::build(&resources, None);
    assert_eq!(config.first_error(), None);
    let mut timed = |what: &str, took: Duration, bound: Duration| {
        let figure = format!("{:.3} ms", took.as_secs_f64() * 1e3);
        let bound_text = format!("bound {} ms, median of {RUNS}", bound.as_millis());
        report.line(&format!("config: {what}"), &figure, &bound_text, took <= bound);
    };

    let all = format!("{POOLS} pools + {ADVERTISEMENTS} advertisements + {PEERS} peers");
    timed(&format!("build {all}"), median(|| drop(Config::build(&resources, None))), BUILD);
    let anew = median(|| drop(Config::build(&resources, Some(&config))));
    timed("build them anew after a change", anew, BUILD);
    let index = Index::new(&resources);
    timed("index them for reviews", median(|| drop(Index::new(&resources))), BUILD);

    let more: IPAddressPool = from_value(pool(POOLS)).expect("a pool");
    for (what, change) in [
        ("review a pool that takes the place of one", Object::IpAddressPool(&large.pools[7])),
        ("review a new pool", Object::IpAddressPool(&more)),
        ("review an advertisement of all pools", Object::BgpAdvertisement(&large.advertisements[2])),
        ("review a peer", Object::BgpPeer(&large.peers[7])),
    ] {
        let review = || index.admits(&resources, Change::Apply(change)).expect("it is valid");
        timed(what, median(review), REVIEW);
    }

    let [few, many] = [POOLS, 8 * POOLS].map(|count| {
        let pools: Vec<IPAddressPool> =
            (0..count).map(|number| from_value(pool(number)).expect("a pool")).collect();
        let resources = Resources { pools: pools.iter().collect(), ..Resources::default() };
        median(|| drop(Config::build(&resources, None)))
    });
    timed(&format!("overlap check of {POOLS} pools"), few, BUILD);
    let growth = many.as_secs_f64() / few.as_secs_f64() / 8.0;
    let bound = format!("bound {GROWTH}, O(n) is 1, O(n²) is 8");
    report.line(
        "config: growth of that by pool, of 8 times as many",
        &format!("{growth:.2}"),
        &bound,
        growth <= GROWTH,
    );
    report.end()
}

/// The median of several runs.
fn median(run: impl Fn()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}
