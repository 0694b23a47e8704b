//! Each rule, object in and exact message out.

mod bgp;
mod mistakes;
mod peers;
mod reviews;

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Config, Labels, Resources, Secret};
use serde_json::{Value, from_value, json};

/// All objects of a cluster.
#[derive(Default)]
struct World {
    pools: Vec<IPAddressPool>,
    l2_advertisements: Vec<L2Advertisement>,
    bgp_advertisements: Vec<BGPAdvertisement>,
    peers: Vec<BGPPeer>,
    profiles: Vec<BFDProfile>,
    communities: Vec<Community>,
    secrets: Vec<Secret>,
    nodes: Vec<Labels>,
}

/// An object by name and spec.
fn object(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "metallb-system"}, "spec": spec})
}

impl World {
    /// Of `[kind, name, spec]`.
    fn of(objects: &[(&str, &str, Value)]) -> Self {
        let mut world = Self::default();
        for (kind, name, spec) in objects {
            world.add(kind, name, spec);
        }
        world
    }

    fn add(&mut self, kind: &str, name: &str, spec: &Value) {
        let object = object(name, spec);
        let why = "an object that the API server lets through";
        match kind {
            "pool" => self.pools.push(from_value(object).expect(why)),
            "l2" => self.l2_advertisements.push(from_value(object).expect(why)),
            "bgp" => self.bgp_advertisements.push(from_value(object).expect(why)),
            "peer" => self.peers.push(from_value(object).expect(why)),
            "bfd" => self.profiles.push(from_value(object).expect(why)),
            "community" => self.communities.push(from_value(object).expect(why)),
            "node" => self.nodes.push(from_value(spec.clone()).expect(why)),
            "secret" => self.secrets.push(Secret {
                namespace: "metallb-system".to_owned(),
                name: name.to_owned(),
                kind: spec["type"].as_str().expect("a type").to_owned(),
                has_password: spec["key"] == "password",
            }),
            other => panic!("no kind {other}"),
        }
    }

    fn resources(&self) -> Resources<'_> {
        Resources {
            pools: self.pools.iter().collect(),
            l2_advertisements: self.l2_advertisements.iter().collect(),
            bgp_advertisements: self.bgp_advertisements.iter().collect(),
            bgp_peers: self.peers.iter().collect(),
            bfd_profiles: self.profiles.iter().collect(),
            communities: self.communities.iter().collect(),
            secrets: self.secrets.iter().collect(),
            nodes: self.nodes.iter().collect(),
        }
    }

    fn config(&self, previous: Option<&Config>) -> Config {
        Config::build(&self.resources(), previous)
    }

    /// The text of the first error; empty where there is none.
    fn error(&self) -> String {
        self.config(None).first_error().map(|problem| problem.error.to_string()).unwrap_or_default()
    }
}

fn pool(addresses: &[&str]) -> Value {
    json!({"addresses": addresses})
}
