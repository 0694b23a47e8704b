//! What the measurements share: a large configuration, and lines that say whether a bound is met.

use std::process::ExitCode;

use api::{BGPAdvertisement, BGPPeer, IPAddressPool};
use config::{Resources, Secret};
use serde_json::{Value, from_value, json};

pub(crate) const POOLS: usize = 1_000;
pub(crate) const ADVERTISEMENTS: usize = 1_000;
pub(crate) const PEERS: usize = 200;

/// 1,000 pools, 1,000 advertisements and 200 peers.
pub(crate) struct Large {
    pub(crate) pools: Vec<IPAddressPool>,
    pub(crate) advertisements: Vec<BGPAdvertisement>,
    pub(crate) peers: Vec<BGPPeer>,
    secret: Secret,
}

impl Large {
    pub(crate) fn new() -> Self {
        let objects = |count: usize, object: fn(usize) -> Value| (0..count).map(object);
        let secret = Secret {
            namespace: "metallb-system".to_owned(),
            name: "secret".to_owned(),
            kind: "kubernetes.io/basic-auth".to_owned(),
            has_password: true,
        };
        Self {
            pools: objects(POOLS, pool).map(|object| from_value(object).expect("a pool")).collect(),
            advertisements: objects(ADVERTISEMENTS, advertisement)
                .map(|object| from_value(object).expect("an advertisement"))
                .collect(),
            peers: objects(PEERS, peer).map(|object| from_value(object).expect("a peer")).collect(),
            secret,
        }
    }

    pub(crate) fn resources(&self) -> Resources<'_> {
        Resources {
            pools: self.pools.iter().collect(),
            bgp_advertisements: self.advertisements.iter().collect(),
            bgp_peers: self.peers.iter().collect(),
            secrets: vec![&self.secret],
            ..Resources::default()
        }
    }
}

/// A pool of two families with a label that 20 of 1,000 have.
pub(crate) fn pool(number: usize) -> Value {
    let (high, low) = (number / 250, number % 250);
    let addresses = json!([
        format!("10.{high}.{low}.0/24"),
        format!("2001:db8:{high}:{low}::1-2001:db8:{high}:{low}::ffff")
    ]);
    let labels = json!({"zone": format!("z{}", number % 50)});
    json!({"metadata": {"name": format!("pool{number}"), "labels": labels}, "spec": {"addresses": addresses}})
}

/// A third by name, a third by label, a third all pools; two local preferences, so that every rule is at work.
pub(crate) fn advertisement(number: usize) -> Value {
    let mut spec = json!({
        "localPref": 100 + number % 2,
        "peers": [format!("peer{}", number % PEERS)],
        "communities": ["65000:100", "large:65000:1:2"],
    });
    match number % 3 {
        0 => spec["ipAddressPools"] = json!([format!("pool{number}")]),
        1 => {
            spec["ipAddressPoolSelectors"] = json!([{"matchLabels": {"zone": format!("z{}", number % 50)}}]);
        }
        _ => {}
    }
    json!({"metadata": {"name": format!("adv{number}")}, "spec": spec})
}

pub(crate) fn peer(number: usize) -> Value {
    let spec = json!({"myASN": 65000, "peerASN": 65001, "peerAddress": format!("192.0.2.{number}"),
        "holdTime": "90s", "passwordSecret": {"name": "secret"}});
    json!({"metadata": {"name": format!("peer{number}")}, "spec": spec})
}

/// Figures, each beside its bound.
#[derive(Default)]
pub(crate) struct Report {
    missed: usize,
}

impl Report {
    /// Prints a figure, and whether it is not what it has to be.
    pub(crate) fn line(&mut self, what: &str, figure: &str, bound: &str, met: bool) {
        let missed = if met { "" } else { "  MISSED" };
        println!("{what:<70} {figure:>12}  ({bound}){missed}");
        self.missed += usize::from(!met);
    }

    /// What the program ends with: an error where a bound is missed.
    pub(crate) fn end(self) -> ExitCode {
        ExitCode::from(u8::from(self.missed > 0))
    }
}
