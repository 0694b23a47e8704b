//! One review: may this be stored?

use config::{Change, Kind, Object, ObjectRef};
use kube::core::admission::Operation;
use serde::de::DeserializeOwned;
use tokio::task::JoinError;
use tracing::{debug, error};
use webhook::{AdmissionRequest, Decision};

use super::view::{Latest, Snapshot};

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

/// Judges what is asked for, by what there is. `namespace` is the one where resources count.
pub(super) fn judge(
    kind: Reviewed,
    mut request: AdmissionRequest,
    namespace: &str,
    latest: &Latest,
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
    let snapshot = match latest {
        Ok(snapshot) => snapshot,
        Err(unknown) => return Decision::deny(format!("{}; try again in a moment", unknown.why)),
    };
    if request.operation == Operation::Delete {
        let gone = ObjectRef { kind: kind.kind(), name: request.name };
        return decided(snapshot.refusal(Change::Delete(&gone)));
    }
    let Some(object) = request.object.take() else {
        return Decision::deny("the review has no object");
    };
    // On its way out: only the last finalizers are taken away.
    if object.metadata.deletion_timestamp.is_some() {
        return Decision::allow();
    }
    let read = serde_json::to_value(object).map_err(|error| error.to_string());
    let decision = read.and_then(|object| apply(kind, object, snapshot));
    let decision =
        decision.unwrap_or_else(|why| Decision::deny(format!("{} cannot be read: {why}", kind.kind())));
    debug!(kind = %kind.kind(), name = request.name, refusal = decision.refusal, "judged");
    decision
}

/// Judges an object that is created or changed; an error where it cannot be read.
fn apply(kind: Reviewed, object: serde_json::Value, snapshot: &Snapshot) -> Result<Decision, String> {
    let refusal = |object: Object<'_>| decided(snapshot.refusal(Change::Apply(object)));
    Ok(match kind {
        Reviewed::BgpPeer => {
            let peer: api::BGPPeer = parse(object)?;
            let decision = refusal(Object::BgpPeer(&peer));
            if peer.spec.disable_mp == Some(true) { decision.warn(DISABLE_MP) } else { decision }
        }
        Reviewed::BfdProfile => refusal(Object::BfdProfile(&parse(object)?)),
        Reviewed::BgpAdvertisement => refusal(Object::BgpAdvertisement(&parse(object)?)),
        Reviewed::Community => refusal(Object::Community(&parse(object)?)),
        Reviewed::IpAddressPool => refusal(Object::IpAddressPool(&parse(object)?)),
        Reviewed::L2Advertisement => refusal(Object::L2Advertisement(&parse(object)?)),
    })
}

fn parse<T: DeserializeOwned>(object: serde_json::Value) -> Result<T, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}

fn decided(refusal: Option<String>) -> Decision {
    refusal.map_or_else(Decision::allow, Decision::deny)
}

/// The answer where no judgement was found.
pub(super) fn failed(error: &JoinError) -> Decision {
    error!(%error, "a review failed");
    Decision::deny("the review failed: look at the log of the webhook server, and try again")
}
