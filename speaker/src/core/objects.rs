//! The objects of the configuration, and what they come to.

use std::collections::BTreeMap;

use announce::{Node, ServiceKey};
use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Labels, Resources, Secret};
use kube_ext::Change;
use l2::Instant;
use tracing::{info, warn};

use super::{Config, Core, Effect, Kind, SecretView};

/// All objects of MetalLB's namespace that make up the configuration, by name, and the labels of the nodes.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) pools: BTreeMap<String, IPAddressPool>,
    pub(super) l2_advertisements: BTreeMap<String, L2Advertisement>,
    pub(super) bgp_advertisements: BTreeMap<String, BGPAdvertisement>,
    pub(super) bgp_peers: BTreeMap<String, BGPPeer>,
    pub(super) bfd_profiles: BTreeMap<String, BFDProfile>,
    pub(super) communities: BTreeMap<String, Community>,
    secrets: BTreeMap<String, Secret>,
    nodes: BTreeMap<String, Labels>,
}

impl Objects {
    fn resources(&self) -> Resources<'_> {
        Resources {
            pools: self.pools.values().collect(),
            l2_advertisements: self.l2_advertisements.values().collect(),
            bgp_advertisements: self.bgp_advertisements.values().collect(),
            bgp_peers: self.bgp_peers.values().collect(),
            bfd_profiles: self.bfd_profiles.values().collect(),
            communities: self.communities.values().collect(),
            secrets: self.secrets.values().collect(),
            nodes: self.nodes.values().collect(),
        }
    }

    /// Whether a peer takes its password from the Secret of this name.
    fn needs_secret(&self, name: &str) -> bool {
        let names = |peer: &BGPPeer| {
            peer.spec.password_secret.as_ref().is_some_and(|secret| secret.name.as_deref() == Some(name))
        };
        self.bgp_peers.values().any(names)
    }

    /// Notes the labels of a node; true where the configuration may be another by that: its rules on nodes are about
    /// BGPAdvertisements.
    fn label_node(&mut self, name: &str, labels: Option<&Labels>) -> bool {
        let before = match labels {
            Some(labels) if self.nodes.get(name) == Some(labels) => return false,
            Some(labels) => self.nodes.insert(name.to_owned(), labels.clone()),
            None => self.nodes.remove(name),
        };
        (before.is_some() || labels.is_some()) && !self.bgp_advertisements.is_empty()
    }
}

impl Core {
    /// Takes in a change of one of them; returns the Services that it touches.
    pub(super) fn object<T>(
        &mut self,
        now: Instant,
        kind: Kind,
        of: impl Fn(&mut Objects) -> &mut BTreeMap<String, T>,
        change: Change<T>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        match change {
            Change::Apply(key, object) => {
                of(&mut self.objects).insert(key.name, object);
            }
            Change::Delete(key) => {
                of(&mut self.objects).remove(&key.name);
            }
            Change::Synced => return self.synced(now, kind, out),
        }
        self.configure(out)
    }

    /// Takes in a change of a Secret, of which only those count that a peer names.
    pub(super) fn secret(
        &mut self,
        now: Instant,
        change: Change<SecretView>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        let (name, same) = match change {
            Change::Apply(key, SecretView { secret, password }) => {
                let rotated = self.bgp.set_password(&key.name, password);
                let before = self.objects.secrets.insert(key.name.clone(), secret);
                let same = !rotated && before.as_ref() == self.objects.secrets.get(&key.name);
                (key.name, same)
            }
            Change::Delete(key) => {
                let same = self.objects.secrets.remove(&key.name).is_none();
                // A peer in force goes on with the password that it has.
                if !self.objects.needs_secret(&key.name) {
                    self.bgp.set_password(&key.name, None);
                }
                (key.name, same)
            }
            Change::Synced => return self.synced(now, Kind::Secrets, out),
        };
        if same || !self.objects.needs_secret(&name) { Vec::new() } else { self.configure(out) }
    }

    /// Takes in a change of a node.
    pub(super) fn cluster_node(
        &mut self,
        now: Instant,
        change: Change<Node>,
        out: &mut Vec<Effect>,
    ) -> Vec<ServiceKey> {
        if let Change::Apply(key, _) | Change::Delete(key) = &change
            && key.name == self.node
        {
            self.bgp.touch();
        }
        let (relabelled, mut touched) = match change {
            Change::Apply(key, node) if key.name == self.node && node.draining != self.draining => {
                self.draining = node.draining;
                info!(
                    draining = node.draining,
                    "the node {}",
                    if node.draining {
                        "is drained: its addresses are handed over"
                    } else {
                        "is not drained any more"
                    }
                );
                out.push(Effect::Drain(node.draining));
                let mut touched = self.drain_bgp(now, node.draining);
                touched.extend(self.cluster_node(now, Change::Apply(key, node), out));
                return touched;
            }
            Change::Apply(key, node) => (
                self.objects.label_node(&key.name, Some(&node.labels)),
                self.index.apply_node(key.name, node),
            ),
            Change::Delete(key) => {
                (self.objects.label_node(&key.name, None), self.index.delete_node(&key.name))
            }
            Change::Synced => return self.synced(now, Kind::Nodes, out),
        };
        if relabelled {
            touched.extend(self.configure(out));
        }
        touched.extend(self.relist(now, out));
        self.look_at_roster(now, out);
        touched
    }

    /// The configuration that the objects make now, put in force; nothing before all of them are known.
    pub(super) fn configure(&mut self, out: &mut Vec<Effect>) -> Vec<ServiceKey> {
        if !self.gate.open() {
            return Vec::new();
        }
        self.bgp.touch();
        let config = Config::build(&self.objects.resources(), Some(self.index.config()));
        for problem in &config.problems {
            if !self.index.config().problems.contains(problem) {
                warn!(object = %problem.object, "{}", problem.message());
            }
        }
        out.push(Effect::Configured(config.error_summary()));
        let takers = self.bgp.takers(&config);
        let by_config = self.index.set_config(config);
        let by_takers = self.index.set_takers(takers);
        // Either touches the same Services: all.
        if by_config.is_empty() { by_takers } else { by_config }
    }
}
