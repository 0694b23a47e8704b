//! How many reviews a second over kept-alive connections, and how long one takes: `cargo xtask bench webhook`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Caller, Running, made, routes, trusting};
use futures::future::join_all;
use webhook::ServerConfig;

/// Connections, each with one review at a time.
const CALLERS: usize = 200;

/// Reviews over each connection.
const REVIEWS: usize = 100;

/// Clients and server share the machine, so the server alone can do about twice as much.
#[tokio::main]
async fn main() {
    let made = made("CA");
    let server = Running::new(&ServerConfig::default(), Arc::new(made.certificate.into()), routes());
    let tls = trusting(&[made.authority], &[]);
    let callers = join_all((0..CALLERS).map(|_| Caller::new(server.address, &tls))).await;
    let callers: Vec<_> = callers.into_iter().collect::<Result<_, _>>().expect("connected");

    let begun = Instant::now();
    let tasks = callers.into_iter().map(|caller| {
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(REVIEWS);
            for _ in 0..REVIEWS {
                let asked = Instant::now();
                caller.review("u", "2").await.expect("answered");
                times.push(asked.elapsed());
            }
            times
        })
    });
    let times = join_all(tasks).await.into_iter().map(|times| times.expect("no review is lost"));
    let mut times: Vec<Duration> = times.flatten().collect();
    let took = begun.elapsed();
    times.sort_unstable();
    let count = u32::try_from(times.len()).expect("a small number");
    let rate = f64::from(count) / took.as_secs_f64();
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{rate:.0} reviews/s with {CALLERS} at once, median {median:.1?}, p99 {late:.1?}");
    server.stop().await;
}
