//! Whether a change to an object would leave it, or another, invalid: for admission webhooks.

use std::borrow::Cow;

use api::{BFDProfile, BGPAdvertisement, BGPPeer, Community, IPAddressPool, L2Advertisement};

use crate::community::{Community as Value, ParseCommunityError};
use crate::{Config, ConfigError, Kind, ObjectRef, Resources};

/// A change to one object that somebody asks for.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The object is created, or takes the place of the one of its name.
    Apply(Object<'a>),
    /// The object is deleted.
    Delete(&'a ObjectRef),
}

/// An object of a kind that makes up a configuration.
#[derive(Clone, Copy, Debug)]
pub enum Object<'a> {
    /// A BFDProfile.
    BfdProfile(&'a api::BFDProfile),
    /// A BGPPeer.
    BgpPeer(&'a api::BGPPeer),
    /// An IPAddressPool.
    IpAddressPool(&'a api::IPAddressPool),
    /// A Community.
    Community(&'a api::Community),
    /// An L2Advertisement.
    L2Advertisement(&'a api::L2Advertisement),
    /// A BGPAdvertisement.
    BgpAdvertisement(&'a api::BGPAdvertisement),
}

/// Whether the objects would still be as valid with the change: what to refuse it with, if not. References to
/// objects that may still appear (a BFDProfile, a Secret, the name of a community) are no reason.
///
/// Builds two [`Config`]s; an [`Index`](crate::Index) is made once for many such questions.
pub fn validate(resources: &Resources<'_>, change: Change<'_>) -> Result<(), ConfigError> {
    Config::build(resources, None).admits(resources, change)
}

impl Object<'_> {
    /// Its `metadata.name`; empty where there is none yet.
    pub fn name(&self) -> &str {
        let name = match self {
            Self::BfdProfile(object) => &object.metadata.name,
            Self::BgpPeer(object) => &object.metadata.name,
            Self::IpAddressPool(object) => &object.metadata.name,
            Self::Community(object) => &object.metadata.name,
            Self::L2Advertisement(object) => &object.metadata.name,
            Self::BgpAdvertisement(object) => &object.metadata.name,
        };
        name.as_deref().unwrap_or_default()
    }
}

impl Config {
    /// Whether this configuration, made of `resources`, would still be as valid with the change: what to refuse it
    /// with, if not. As [`validate`], at the cost of one [`build`](Self::build).
    pub fn admits(&self, resources: &Resources<'_>, change: Change<'_>) -> Result<(), ConfigError> {
        let mut after = resources.clone();
        let (peer, advertisement);
        let changed = match change {
            Change::Delete(object) => return deletable(resources, object),
            Change::Apply(Object::BfdProfile(object)) => {
                put(&mut after.bfd_profiles, object, |object: &BFDProfile| &object.metadata.name);
                (Kind::BFDProfile, &object.metadata.name)
            }
            Change::Apply(Object::BgpPeer(object)) => {
                peer = without_references(object);
                put(&mut after.bgp_peers, &peer, |object: &BGPPeer| &object.metadata.name);
                (Kind::BGPPeer, &object.metadata.name)
            }
            Change::Apply(Object::IpAddressPool(object)) => {
                put(&mut after.pools, object, |object: &IPAddressPool| &object.metadata.name);
                (Kind::IPAddressPool, &object.metadata.name)
            }
            Change::Apply(Object::Community(object)) => {
                put(&mut after.communities, object, |object: &Community| &object.metadata.name);
                (Kind::Community, &object.metadata.name)
            }
            Change::Apply(Object::L2Advertisement(object)) => {
                put(&mut after.l2_advertisements, object, |object: &L2Advertisement| &object.metadata.name);
                (Kind::L2Advertisement, &object.metadata.name)
            }
            Change::Apply(Object::BgpAdvertisement(object)) => {
                let known = |text: &str| {
                    self.communities.values().any(|community| community.names.contains_key(text))
                };
                advertisement = without_unknown_names(object, known);
                put(&mut after.bgp_advertisements, advertisement.as_ref(), |object: &BGPAdvertisement| {
                    &object.metadata.name
                });
                (Kind::BGPAdvertisement, &object.metadata.name)
            }
        };
        let changed = ObjectRef { kind: changed.0, name: changed.1.clone().unwrap_or_default() };
        let faulty = |config: &Self, object: &ObjectRef| {
            config.problems.iter().any(|p| p.object == *object && !p.hint && !p.transient)
        };
        // What is wrong with others already is not the fault of this change.
        let problems = Self::build(&after, Some(self)).problems.into_iter();
        let mut reasons = problems.filter(|problem| {
            !problem.hint
                && !problem.transient
                && (problem.object == changed || !faulty(self, &problem.object))
        });
        reasons.next().map_or(Ok(()), |problem| Err(problem.error))
    }
}

/// The advertisement without communities that may be names which are still to be given; `known` are those that are.
pub(crate) fn without_unknown_names(
    object: &BGPAdvertisement,
    known: impl Fn(&str) -> bool,
) -> Cow<'_, BGPAdvertisement> {
    let counts = |text: &String| {
        let unknown = || matches!(text.parse::<Value>(), Err(ParseCommunityError::Format(_)));
        known(text) || text.contains(':') || !unknown()
    };
    if object.spec.communities.iter().all(counts) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    object.spec.communities.retain(counts);
    Cow::Owned(object)
}

/// The BGPPeer without what it refers to, which may still be created.
pub(crate) fn without_references(object: &BGPPeer) -> BGPPeer {
    let mut object = object.clone();
    object.spec.bfd_profile = None;
    if object.spec.password.as_ref().is_none_or(String::is_empty) {
        object.spec.password_secret = None;
    }
    object
}

/// Puts the object in the place of the one of its name, or to the others.
fn put<'a, O>(objects: &mut Vec<&'a O>, object: &'a O, name: impl Fn(&O) -> &Option<String>) {
    objects.retain(|other| name(other) != name(object));
    objects.push(object);
}

/// Whether an object may be deleted: a BFDProfile only where no BGPPeer names it.
fn deletable(resources: &Resources<'_>, object: &ObjectRef) -> Result<(), ConfigError> {
    if object.kind != Kind::BFDProfile {
        return Ok(());
    }
    let users =
        resources.bgp_peers.iter().filter(|peer| peer.spec.bfd_profile.as_ref() == Some(&object.name));
    let first = users.filter_map(|peer| peer.metadata.name.as_ref()).min();
    first.map_or(Ok(()), |peer| {
        Err(ConfigError::BfdProfileInUse { profile: object.name.clone(), peer: peer.clone() })
    })
}
