//! One review: may this be stored?

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};
use config::{Change, Kind, Object, ObjectRef};
use kube::core::admission::Operation;
use serde::de::DeserializeOwned;
use tracing::{debug, error};
use webhook::{AdmissionRequest, Decision};

use super::view::Latest;

/// What MetalLB says to a BGPPeer with `disableMP`.
const DISABLE_MP: &str = "disable mp is deprecated and has no effect since it's the default behavior now";

/// The kinds that are judged, each at a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reviewed {
    BgpPeer,
    BfdProfile,
    BgpAdvertisement,
    Community,
    IpAddressPool,
    L2Advertisement,
}

impl Reviewed {
    pub(super) const ALL: [Self; 6] = [
        Self::BgpPeer,
        Self::BfdProfile,
        Self::BgpAdvertisement,
        Self::Community,
        Self::IpAddressPool,
        Self::L2Advertisement,
    ];

    /// The path, as MetalLB names it.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::BgpPeer => "/validate-metallb-io-v1beta2-bgppeer",
            Self::BfdProfile => "/validate-metallb-io-v1beta1-bfdprofile",
            Self::BgpAdvertisement => "/validate-metallb-io-v1beta1-bgpadvertisement",
            Self::Community => "/validate-metallb-io-v1beta1-community",
            Self::IpAddressPool => "/validate-metallb-io-v1beta1-ipaddresspool",
            Self::L2Advertisement => "/validate-metallb-io-v1beta1-l2advertisement",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::BgpPeer => Kind::BGPPeer,
            Self::BfdProfile => Kind::BFDProfile,
            Self::BgpAdvertisement => Kind::BGPAdvertisement,
            Self::Community => Kind::Community,
            Self::IpAddressPool => Kind::IPAddressPool,
            Self::L2Advertisement => Kind::L2Advertisement,
        }
    }
}

/// A change that is asked for.
#[derive(Debug)]
pub(super) enum Asked {
    BgpPeer(BGPPeer),
    BfdProfile(BFDProfile),
    BgpAdvertisement(BGPAdvertisement),
    Community(Community),
    IpAddressPool(IPAddressPool),
    L2Advertisement(L2Advertisement),
    Deleted(ObjectRef),
}

impl Asked {
    pub(super) fn change(&self) -> Change<'_> {
        Change::Apply(match self {
            Self::BgpPeer(object) => Object::BgpPeer(object),
            Self::BfdProfile(object) => Object::BfdProfile(object),
            Self::BgpAdvertisement(object) => Object::BgpAdvertisement(object),
            Self::Community(object) => Object::Community(object),
            Self::IpAddressPool(object) => Object::IpAddressPool(object),
            Self::L2Advertisement(object) => Object::L2Advertisement(object),
            Self::Deleted(object) => return Change::Delete(object),
        })
    }
}

/// Judges what is asked for, by what there is. `namespace` is the one where resources count.
pub(super) async fn judge(
    kind: Reviewed,
    mut request: AdmissionRequest,
    namespace: &str,
    latest: Latest,
) -> Decision {
    let elsewhere = request.namespace.as_deref().unwrap_or_default() != namespace;
    match request.operation {
        Operation::Create if elsewhere => {
            return Decision::deny(format!("resource must be created in {namespace} namespace"));
        }
        // Whatever is said there is in force nowhere.
        _ if elsewhere => {
            return Decision::allow()
                .warn(format!("MetalLB takes no notice of it outside of namespace {namespace}"));
        }
        Operation::Connect => return Decision::allow(),
        Operation::Create | Operation::Update | Operation::Delete => {}
    }
    if says_the_same(&request) {
        return Decision::allow();
    }
    let snapshot = match latest {
        Ok(snapshot) => snapshot,
        Err(unknown) => return Decision::deny(format!("{}; try again in a moment", unknown.why)),
    };
    let asked = if request.operation == Operation::Delete {
        Asked::Deleted(ObjectRef { kind: kind.kind(), name: request.name.clone() })
    } else {
        let Some(object) = request.object.take() else {
            return Decision::deny("the review has no object");
        };
        // On its way out: only the last finalizers are taken away.
        if object.metadata.deletion_timestamp.is_some() {
            return Decision::allow();
        }
        let read = serde_json::to_value(object).map_err(|error| error.to_string());
        match read.and_then(|object| typed(kind, object)) {
            Ok(asked) => asked,
            Err(why) => return Decision::deny(format!("{} cannot be read: {why}", kind.kind())),
        }
    };
    let deprecated = matches!(&asked, Asked::BgpPeer(peer) if peer.spec.disable_mp == Some(true));
    let decision = match snapshot.refusal(asked).await {
        Ok(refusal) => refusal.map_or_else(Decision::allow, Decision::deny),
        Err(error) => {
            error!(%error, "a review failed");
            Decision::deny("the review failed: look at the log of the webhook server, and try again")
        }
    };
    debug!(kind = %kind.kind(), name = request.name, refusal = decision.refusal, "judged");
    if deprecated { decision.warn(DISABLE_MP) } else { decision }
}

/// Whether an update changes nothing that counts: annotations, owners or finalizers only. Such a one is let through
/// although the object may have been stored invalid by an older version: tools that keep their notes on it shall not
/// be held up.
pub(super) fn says_the_same(request: &AdmissionRequest) -> bool {
    let (Some(new), Some(old)) = (&request.object, &request.old_object) else { return false };
    request.operation == Operation::Update
        && new.data.get("spec") == old.data.get("spec")
        && new.metadata.labels == old.metadata.labels
}

/// The object of a review as one of its type; an error where it cannot be read.
fn typed(kind: Reviewed, object: serde_json::Value) -> Result<Asked, String> {
    Ok(match kind {
        Reviewed::BgpPeer => Asked::BgpPeer(parse(object)?),
        Reviewed::BfdProfile => Asked::BfdProfile(parse(object)?),
        Reviewed::BgpAdvertisement => Asked::BgpAdvertisement(parse(object)?),
        Reviewed::Community => Asked::Community(parse(object)?),
        Reviewed::IpAddressPool => Asked::IpAddressPool(parse(object)?),
        Reviewed::L2Advertisement => Asked::L2Advertisement(parse(object)?),
    })
}

fn parse<T: DeserializeOwned>(object: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}
