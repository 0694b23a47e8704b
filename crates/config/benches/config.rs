//! How long it takes to read and validate a large configuration: `cargo bench -p config`.

use std::time::{Duration, Instant};

use api::{BGPAdvertisement, BGPPeer, IPAddressPool};
use config::{Change, Config, Object, Resources, Secret};
use serde_json::{from_value, json};

const POOLS: usize = 1_000;
const ADVERTISEMENTS: usize = 1_000;
const PEERS: usize = 200;
const RUNS: usize = 51;

fn main() {
    let pools: Vec<IPAddressPool> = (0..POOLS)
        .map(|i| {
            let (high, low) = (i / 250, i % 250);
            let addresses = json!([
                format!("10.{high}.{low}.0/24"),
                format!("2001:db8:{high}:{low}::1-2001:db8:{high}:{low}::ffff")
            ]);
            let metadata = json!({"name": format!("pool{i}"), "labels": {"zone": format!("z{}", i % 50)}});
            from_value(json!({"metadata": metadata, "spec": {"addresses": addresses}})).expect("a pool")
        })
        .collect();
    // A third by name, a third by label, a third all pools; two local preferences, so that every rule is at work.
    let advertisements: Vec<BGPAdvertisement> = (0..ADVERTISEMENTS)
        .map(|i| {
            let mut spec = json!({
                "localPref": 100 + i % 2,
                "peers": [format!("peer{}", i % PEERS)],
                "communities": ["65000:100", "large:65000:1:2"],
            });
            match i % 3 {
                0 => spec["ipAddressPools"] = json!([format!("pool{i}")]),
                1 => {
                    spec["ipAddressPoolSelectors"] =
                        json!([{"matchLabels": {"zone": format!("z{}", i % 50)}}]);
                }
                _ => {}
            }
            from_value(json!({"metadata": {"name": format!("adv{i}")}, "spec": spec}))
                .expect("an advertisement")
        })
        .collect();
    let peers: Vec<BGPPeer> = (0..PEERS)
        .map(|i| {
            let spec = json!({"myASN": 65000, "peerASN": 65001, "peerAddress": format!("192.0.2.{i}"),
                "holdTime": "90s", "passwordSecret": {"name": "secret"}});
            from_value(json!({"metadata": {"name": format!("peer{i}")}, "spec": spec})).expect("a peer")
        })
        .collect();
    let secret = Secret {
        namespace: "metallb-system".to_owned(),
        name: "secret".to_owned(),
        kind: "kubernetes.io/basic-auth".to_owned(),
        has_password: true,
    };
    let resources = Resources {
        pools: pools.iter().collect(),
        bgp_advertisements: advertisements.iter().collect(),
        bgp_peers: peers.iter().collect(),
        secrets: vec![&secret],
        ..Resources::default()
    };
    let config = Config::build(&resources, None);
    assert_eq!(config.first_error(), None);
    let build = median(|| drop(Config::build(&resources, None)));
    let review = median(|| {
        let change = Change::Apply(Object::IpAddressPool(&pools[0]));
        config.admits(&resources, change).expect("it is valid already");
    });
    println!(
        "{POOLS} pools, {ADVERTISEMENTS} advertisements, {PEERS} peers: validated in {build:.1?}, a change reviewed in {review:.1?}"
    );
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
