//! What there is: the resources that a judgement depends on, kept by watches.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Config, Labels, Resources};
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use kube_ext::{Change, Gate, watch, watch_config};
use tokio::sync::{mpsc, watch as channel};

/// Changes on their way; more make the watches wait.
const INBOX: usize = 1024;

/// The newest snapshot, or why there is none yet.
pub(super) type Latest = Result<Arc<Snapshot>, Unknown>;

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unknown {
    /// For people.
    pub(super) why: String,
    /// Whether all that is missing is what the API server may need our conversion for: it calls only those that are
    /// ready, so readiness must not wait for that.
    pub(super) needs_us: bool,
}

/// Everything at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) view: View,
    /// Made of it when it is first asked for.
    config: OnceLock<Config>,
}

/// All objects by name. Secrets are not among them: a password that is missing is no reason to refuse a BGPPeer.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) pools: Objects<IPAddressPool>,
    pub(super) l2_advertisements: Objects<L2Advertisement>,
    pub(super) bgp_advertisements: Objects<BGPAdvertisement>,
    pub(super) peers: Objects<BGPPeer>,
    pub(super) bfd_profiles: Objects<BFDProfile>,
    pub(super) communities: Objects<Community>,
    pub(super) nodes: Objects<Labels>,
}

type Objects<T> = BTreeMap<String, Arc<T>>;

/// What the watches tell.
#[derive(Debug)]
pub(super) enum Seen {
    Pool(Change<IPAddressPool>),
    L2Advertisement(Change<L2Advertisement>),
    BgpAdvertisement(Change<BGPAdvertisement>),
    Peer(Change<BGPPeer>),
    BfdProfile(Change<BFDProfile>),
    Community(Change<Community>),
    Node(Change<Labels>),
}

/// The kinds that must have been listed before anything is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    IPAddressPools,
    L2Advertisements,
    BGPAdvertisements,
    BGPPeers,
    BFDProfiles,
    Communities,
    Nodes,
}

const KINDS: [Kind; 7] = [
    Kind::IPAddressPools,
    Kind::L2Advertisements,
    Kind::BGPAdvertisements,
    Kind::BGPPeers,
    Kind::BFDProfiles,
    Kind::Communities,
    Kind::Nodes,
];

/// Watches everything, and gives the newest snapshot.
pub(super) fn follow(client: &Client, namespace: &str) -> channel::Receiver<Latest> {
    let (out, seen) = mpsc::channel(INBOX);
    macro_rules! ours {
        ($wrap:path) => {
            let api = Api::namespaced(client.clone(), namespace);
            tokio::spawn(watch(api, watch_config(), |object| object, $wrap, out.clone()));
        };
    }
    ours!(Seen::Pool);
    ours!(Seen::L2Advertisement);
    ours!(Seen::BgpAdvertisement);
    ours!(Seen::Peer);
    ours!(Seen::BfdProfile);
    ours!(Seen::Community);
    let nodes = Api::<PartialObjectMeta<Node>>::all(client.clone());
    let labels = |node: PartialObjectMeta<Node>| node.metadata.labels.unwrap_or_default();
    tokio::spawn(watch(nodes, watch_config(), labels, Seen::Node, out));
    gather(seen)
}

/// Puts together what is seen. Ends with its receiver.
fn gather(mut seen: mpsc::Receiver<Seen>) -> channel::Receiver<Latest> {
    let mut gate = Gate::new(KINDS);
    let (out, latest) = channel::channel(Err(waiting(&gate)));
    tokio::spawn(async move {
        let mut view = View::default();
        let mut batch = Vec::new();
        while seen.recv_many(&mut batch, INBOX).await > 0 {
            for seen in batch.drain(..) {
                if let Some(kind) = view.take(seen) {
                    gate.arrived(kind);
                }
            }
            let now = if gate.open() {
                Ok(Arc::new(Snapshot { view: view.clone(), config: OnceLock::new() }))
            } else {
                Err(waiting(&gate))
            };
            if out.send(now).is_err() {
                return;
            }
        }
    });
    latest
}

fn waiting(gate: &Gate<Kind>) -> Unknown {
    let missing: Vec<String> = gate.missing().map(|kind| format!("{kind:?}")).collect();
    Unknown {
        why: format!("webhooks: waiting for the first list of {}", missing.join(", ")),
        needs_us: gate.missing().all(|kind| *kind == Kind::BGPPeers),
    }
}

impl View {
    /// Takes a change in. Gives the kind whose first list is complete with it.
    fn take(&mut self, seen: Seen) -> Option<Kind> {
        let (synced, kind) = match seen {
            Seen::Pool(change) => (put(&mut self.pools, change), Kind::IPAddressPools),
            Seen::L2Advertisement(change) => {
                (put(&mut self.l2_advertisements, change), Kind::L2Advertisements)
            }
            Seen::BgpAdvertisement(change) => {
                (put(&mut self.bgp_advertisements, change), Kind::BGPAdvertisements)
            }
            Seen::Peer(change) => (put(&mut self.peers, change), Kind::BGPPeers),
            Seen::BfdProfile(change) => (put(&mut self.bfd_profiles, change), Kind::BFDProfiles),
            Seen::Community(change) => (put(&mut self.communities, change), Kind::Communities),
            Seen::Node(change) => (put(&mut self.nodes, change), Kind::Nodes),
        };
        synced.then_some(kind)
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        let Self { pools, l2_advertisements, bgp_advertisements, peers, bfd_profiles, communities, nodes } =
            self;
        pools.len()
            + l2_advertisements.len()
            + bgp_advertisements.len()
            + peers.len()
            + bfd_profiles.len()
            + communities.len()
            + nodes.len()
    }

    fn resources(&self) -> Resources<'_> {
        Resources {
            pools: all(&self.pools),
            l2_advertisements: all(&self.l2_advertisements),
            bgp_advertisements: all(&self.bgp_advertisements),
            bgp_peers: all(&self.peers),
            bfd_profiles: all(&self.bfd_profiles),
            communities: all(&self.communities),
            secrets: Vec::new(),
            nodes: all(&self.nodes),
        }
    }
}

impl Snapshot {
    /// Why a change may not be.
    pub(super) fn refusal(&self, change: config::Change<'_>) -> Option<String> {
        let resources = self.view.resources();
        let config = self.config.get_or_init(|| Config::build(&resources, None));
        config.admits(&resources, change).err().map(|error| error.to_string())
    }
}

#[cfg(test)]
impl From<View> for Snapshot {
    fn from(view: View) -> Self {
        Self { view, config: OnceLock::new() }
    }
}

fn all<T>(objects: &Objects<T>) -> Vec<&T> {
    objects.values().map(Arc::as_ref).collect()
}

/// Whether the first list is complete now.
fn put<T>(objects: &mut Objects<T>, change: Change<T>) -> bool {
    match change {
        Change::Apply(key, object) => {
            objects.insert(key.name, Arc::new(object));
        }
        Change::Delete(key) => {
            objects.remove(&key.name);
        }
        Change::Synced => return true,
    }
    false
}

#[cfg(test)]
mod tests {
    use kube_ext::ObjectKey;

    use super::*;

    #[tokio::test]
    async fn there_is_a_snapshot_once_every_kind_was_listed_and_it_follows_changes() {
        let (out, seen) = mpsc::channel(16);
        let mut latest = gather(seen);
        let why = latest.borrow().as_ref().expect_err("nothing is listed").why.clone();
        assert!(why.starts_with("webhooks: waiting for the first list of IPAddressPools, "), "{why}");
        let key = || ObjectKey::new("metallb-system", "p");
        for seen in [
            Seen::Pool(Change::Apply(key(), IPAddressPool::default())),
            Seen::Pool(Change::Synced),
            Seen::L2Advertisement(Change::Synced),
            Seen::BgpAdvertisement(Change::Synced),
            Seen::BfdProfile(Change::Synced),
            Seen::Community(Change::Synced),
        ] {
            out.send(seen).await.expect("it gathers");
        }
        let nodes = "webhooks: waiting for the first list of BGPPeers, Nodes";
        let told = |why: &str, needs_us: bool| Unknown { why: why.to_owned(), needs_us };
        let is = |latest: &Latest, unknown: &Unknown| latest.as_ref().is_err_and(|now| now == unknown);
        latest.wait_for(|latest| is(latest, &told(nodes, false))).await.expect("it gathers");
        out.send(Seen::Node(Change::Synced)).await.expect("it gathers");
        let peers = "webhooks: waiting for the first list of BGPPeers";
        latest.wait_for(|latest| is(latest, &told(peers, true))).await.expect("it gathers");
        out.send(Seen::Peer(Change::Synced)).await.expect("it gathers");
        let pools = |latest: &Latest| latest.as_ref().map(|snapshot| snapshot.view.len()).ok();
        latest.wait_for(|latest| pools(latest) == Some(1)).await.expect("it gathers");
        out.send(Seen::Pool(Change::Delete(key()))).await.expect("it gathers");
        latest.wait_for(|latest| pools(latest) == Some(0)).await.expect("it gathers");
    }
}
