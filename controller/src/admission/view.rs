//! What there is: the resources that a judgement depends on, kept by watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Index, Labels, Resources};
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use kube_ext::{Change, Gate, watch, watch_config};
use tokio::sync::{OnceCell, Semaphore, mpsc, watch as channel};
use tokio::task::{JoinError, spawn_blocking};

use super::judge::Asked;

/// Changes on their way; more make the watches wait.
const INBOX: usize = 1024;
/// Judgements at work at the same time that take all resources: the others, which take next to nothing, shall not
/// have to wait for processors.
static WHOLE: Semaphore = Semaphore::const_new(2);

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
    /// Made of it when it is first asked for, so that a burst of changes costs no more than what is asked in between.
    index: OnceCell<Arc<Index>>,
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
            let mut news = false;
            for seen in batch.drain(..) {
                match view.take(seen) {
                    Taken::Same => {}
                    Taken::Changed => news = true,
                    Taken::Listed(kind) => {
                        gate.arrived(kind);
                        news = true;
                    }
                }
            }
            if !news {
                continue;
            }
            let now =
                if gate.open() { Ok(Arc::new(Snapshot::from(view.clone()))) } else { Err(waiting(&gate)) };
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

/// What came of a change.
enum Taken {
    /// Nothing is judged otherwise because of it: a status has changed, or a heartbeat of a node was seen.
    Same,
    /// Something may be judged otherwise.
    Changed,
    /// The first list of a kind is complete.
    Listed(Kind),
}

impl View {
    /// Takes a change in.
    fn take(&mut self, seen: Seen) -> Taken {
        macro_rules! put {
            ($objects:ident, $change:ident, $kind:ident) => {
                put(&mut self.$objects, $change, Kind::$kind, |one, two| one.spec == two.spec)
            };
        }
        match seen {
            Seen::Pool(change) => put(&mut self.pools, change, Kind::IPAddressPools, |one, two| {
                one.spec == two.spec && one.metadata.labels == two.metadata.labels
            }),
            Seen::L2Advertisement(change) => put!(l2_advertisements, change, L2Advertisements),
            Seen::BgpAdvertisement(change) => put!(bgp_advertisements, change, BGPAdvertisements),
            Seen::Peer(change) => put!(peers, change, BGPPeers),
            Seen::BfdProfile(change) => put!(bfd_profiles, change, BFDProfiles),
            Seen::Community(change) => put!(communities, change, Communities),
            Seen::Node(change) => put(&mut self.nodes, change, Kind::Nodes, PartialEq::eq),
        }
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
    /// Why a change may not be. Where the change alone does not tell, the answer is found apart from the tasks that
    /// answer others.
    pub(super) async fn refusal(self: Arc<Self>, asked: Asked) -> Result<Option<String>, JoinError> {
        let index = self.index().await?;
        let verdict = if let Some(verdict) = index.judge(asked.change()) {
            verdict
        } else {
            let turn = WHOLE.acquire().await;
            let verdict =
                spawn_blocking(move || index.admits(&self.view.resources(), asked.change())).await?;
            drop(turn);
            verdict
        };
        Ok(verdict.err().map(|error| error.to_string()))
    }

    async fn index(self: &Arc<Self>) -> Result<Arc<Index>, JoinError> {
        let build = || {
            let this = Arc::clone(self);
            spawn_blocking(move || Arc::new(Index::new(&this.view.resources())))
        };
        self.index.get_or_try_init(build).await.cloned()
    }
}

impl From<View> for Snapshot {
    fn from(view: View) -> Self {
        Self { view, index: OnceCell::new() }
    }
}

impl From<&Resources<'_>> for View {
    fn from(resources: &Resources<'_>) -> Self {
        fn by_name<T: Clone>(objects: &[&T], name: impl Fn(&T) -> Option<&String>) -> Objects<T> {
            let named =
                |object: &&T| (name(object).cloned().unwrap_or_default(), Arc::new((*object).clone()));
            objects.iter().map(named).collect()
        }
        let nodes = resources.nodes.iter().enumerate();
        Self {
            pools: by_name(&resources.pools, |object| object.metadata.name.as_ref()),
            l2_advertisements: by_name(&resources.l2_advertisements, |object| object.metadata.name.as_ref()),
            bgp_advertisements: by_name(&resources.bgp_advertisements, |object| {
                object.metadata.name.as_ref()
            }),
            peers: by_name(&resources.bgp_peers, |object| object.metadata.name.as_ref()),
            bfd_profiles: by_name(&resources.bfd_profiles, |object| object.metadata.name.as_ref()),
            communities: by_name(&resources.communities, |object| object.metadata.name.as_ref()),
            nodes: nodes.map(|(place, labels)| (place.to_string(), Arc::new((*labels).clone()))).collect(),
        }
    }
}

fn all<T>(objects: &Objects<T>) -> Vec<&T> {
    objects.values().map(Arc::as_ref).collect()
}

/// Takes a change in; objects of which `same` holds are judged alike.
fn put<T>(objects: &mut Objects<T>, change: Change<T>, kind: Kind, same: impl Fn(&T, &T) -> bool) -> Taken {
    let changed = match change {
        Change::Apply(key, object) => {
            let known = objects.get(&key.name).is_some_and(|before| same(before, &object));
            if !known {
                objects.insert(key.name, Arc::new(object));
            }
            !known
        }
        Change::Delete(key) => objects.remove(&key.name).is_some(),
        Change::Synced => return Taken::Listed(kind),
    };
    if changed { Taken::Changed } else { Taken::Same }
}

#[cfg(test)]
mod tests {
    use api::IPAddressPoolStatus;
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
        let pools = |latest: &Latest| latest.as_ref().map(|snapshot| snapshot.view.pools.len()).ok();
        latest.wait_for(|latest| pools(latest) == Some(1)).await.expect("it gathers");
        latest.mark_unchanged();
        let status = IPAddressPoolStatus { assigned_ipv4: 1, ..IPAddressPoolStatus::default() };
        let counted = IPAddressPool { status: Some(status), ..IPAddressPool::default() };
        out.send(Seen::Pool(Change::Apply(key(), counted))).await.expect("it gathers");
        out.send(Seen::Pool(Change::Delete(ObjectKey::new("metallb-system", "other"))))
            .await
            .expect("it gathers");
        // The task takes what there is, and sends what follows from it, in one go.
        while out.capacity() < out.max_capacity() {
            tokio::task::yield_now().await;
        }
        assert!(!latest.has_changed().expect("it gathers"), "a status is judged by nobody");
        out.send(Seen::Pool(Change::Delete(key()))).await.expect("it gathers");
        latest.wait_for(|latest| pools(latest) == Some(0)).await.expect("it gathers");
    }
}
