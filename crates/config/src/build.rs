//! From the objects to the Config, each object for itself.

use std::collections::BTreeMap;

use ipam::{Labels, Pool};
use net::IpRange;

use crate::aggregation::Aggregation;
use crate::community::{self, Community};
use crate::error::ConfigError;
use crate::local_pref::Collisions;
use crate::peer::{self, References};
use crate::pools::{self, Disjoint};
use crate::wanted::{Announcers, Chooser, Wanted};
use crate::{BgpAdvertisement, Config, Kind, ObjectRef, Problem, bfd, bgp, l2};

/// The objects of the cluster that make up a configuration, in any order.
#[derive(Clone, Debug, Default)]
pub struct Resources<'a> {
    /// All IPAddressPools in MetalLB's namespace.
    pub pools: Vec<&'a api::IPAddressPool>,
    /// All L2Advertisements in MetalLB's namespace.
    pub l2_advertisements: Vec<&'a api::L2Advertisement>,
    /// All BGPAdvertisements in MetalLB's namespace.
    pub bgp_advertisements: Vec<&'a api::BGPAdvertisement>,
    /// All BGPPeers in MetalLB's namespace.
    pub bgp_peers: Vec<&'a api::BGPPeer>,
    /// All BFDProfiles in MetalLB's namespace.
    pub bfd_profiles: Vec<&'a api::BFDProfile>,
    /// All Communities in MetalLB's namespace.
    pub communities: Vec<&'a api::Community>,
    /// All Secrets in MetalLB's namespace.
    pub secrets: Vec<&'a Secret>,
    /// The labels of all nodes: for rules on what may be announced from the same node.
    pub nodes: Vec<&'a Labels>,
}

/// What matters of a Secret that a BGPPeer may name. The password itself is none of the configuration's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type, such as `kubernetes.io/basic-auth`.
    pub kind: String,
    /// Whether it has data under the key `password`.
    pub has_password: bool,
}

impl Config {
    /// Validates the objects and puts together what is valid, in O(n log n).
    ///
    /// Where `previous`, the Config in force so far, has a good version of an object that is not valid now, that
    /// version stays in force. Of two objects that exclude each other (pools that overlap, Communities that use
    /// one name, advertisements whose local preferences collide) the one that was in force and has not changed
    /// stays, else the first by name; the other is at fault.
    pub fn build(resources: &Resources<'_>, previous: Option<&Self>) -> Self {
        Self::assemble(resources, previous).0
    }

    /// As [`build`](Self::build), with what was found out on the way about the BGP advertisements.
    pub(crate) fn assemble(
        resources: &Resources<'_>,
        previous: Option<&Self>,
    ) -> (Self, Chooser, Collisions) {
        let mut config = Self::default();
        config.add_bfd_profiles(resources, previous);
        config.add_bgp_peers(resources, previous);
        config.add_pools(resources, previous);
        config.add_communities(resources, previous);
        let (chooser, collisions) = config.add_advertisements(resources, previous);
        config.problems.sort_by(|a, b| a.object.cmp(&b.object));
        config.check_echo();
        (config, chooser, collisions)
    }

    fn add_bfd_profiles(&mut self, resources: &Resources<'_>, previous: Option<&Self>) {
        let parsed = parse_all(
            &resources.bfd_profiles,
            |profile| &profile.metadata.name,
            bfd::parse,
            |name, _| ConfigError::DuplicateBfdProfile(name),
        );
        let before = previous.map(|previous| &previous.bfd_profiles);
        self.bfd_profiles = self.keep(Kind::BFDProfile, parsed, before);
    }

    fn add_bgp_peers(&mut self, resources: &Resources<'_>, previous: Option<&Self>) {
        let references = References {
            secrets: resources.secrets.iter().map(|secret| (secret.name.as_str(), *secret)).collect(),
            profiles: &self.bfd_profiles,
        };
        let parsed = parse_all(
            &resources.bgp_peers,
            |peer| &peer.metadata.name,
            |peer, _| peer::parse(peer, &references),
            |name, _| ConfigError::DuplicatePeer(name),
        );
        let before = previous.map(|previous| &previous.bgp_peers);
        self.bgp_peers = self.keep(Kind::BGPPeer, parsed, before);
    }

    fn add_pools(&mut self, resources: &Resources<'_>, previous: Option<&Self>) {
        let parsed = parse_all(
            &resources.pools,
            |pool| &pool.metadata.name,
            |pool, _| pools::parse(pool),
            |name, _| ConfigError::DuplicateObject { what: "pool", name },
        );
        let names: Vec<String> = parsed.iter().map(|(name, _)| name.clone()).collect();
        let mut disjoint = Disjoint::default();
        let before = previous.map(|previous| &previous.pools);
        self.pools = self.fit(Kind::IPAddressPool, parsed, before, |pool| disjoint.add(pool));
        self.pools_left_out.extend(names.into_iter().filter(|name| !self.pools.contains_key(name)));
        self.ranges = disjoint.into_index();
    }

    fn add_communities(&mut self, resources: &Resources<'_>, previous: Option<&Self>) {
        let parsed = parse_all(
            &resources.communities,
            |community| &community.metadata.name,
            |community, _| community::parse(community),
            |name, _| ConfigError::DuplicateObject { what: "community", name },
        );
        let mut names = community::Names::default();
        let before = previous.map(|previous| &previous.communities);
        self.communities = self.fit(Kind::Community, parsed, before, |community| names.add(community));
    }

    fn add_advertisements(
        &mut self,
        resources: &Resources<'_>,
        previous: Option<&Self>,
    ) -> (Chooser, Collisions) {
        let empty = Labels::new();
        let labels = resources.pools.iter().filter_map(|pool| {
            Some((pool.metadata.name.as_deref()?, pool.metadata.labels.as_ref().unwrap_or(&empty)))
        });
        // Addresses of a pool that is left out may be in use from before, and stay announced on the LAN.
        let mut chooser = Chooser::new(labels.clone());
        let parsed = parse_all(
            &resources.l2_advertisements,
            |advertisement| &advertisement.metadata.name,
            |advertisement, _| l2::parse(advertisement),
            |name, _| ConfigError::DuplicateObject { what: "l2advertisement", name },
        );
        let before = previous.map(|previous| &previous.l2_advertisements);
        let mut advertisements = self.keep(Kind::L2Advertisement, parsed, before);
        for (name, advertisement) in &mut advertisements {
            advertisement.pools = chooser.choose(&advertisement.wanted);
            self.report_unknown(Kind::L2Advertisement, name, &advertisement.wanted);
        }
        self.l2_advertisements = advertisements;
        self.l2_of_pool =
            Announcers::new(self.l2_advertisements.iter().map(|(name, a)| (name.as_str(), &a.pools)));

        if !self.pools_left_out.is_empty() {
            chooser = Chooser::new(labels.filter(|(name, _)| self.pools.contains_key(*name)));
        }
        let aliases: BTreeMap<&str, Community> = self
            .communities
            .values()
            .flat_map(|community| &community.names)
            .map(|(name, community)| (name.as_str(), *community))
            .collect();
        let parsed = parse_all(
            &resources.bgp_advertisements,
            |advertisement| &advertisement.metadata.name,
            |advertisement, _| bgp::parse(advertisement, |name| aliases.get(name).copied()),
            |_, (first, second)| ConfigError::DuplicateBgpAdvertisement { first, second },
        );
        let before = previous.map(|previous| &previous.bgp_advertisements);
        let mut advertisements = self.keep(Kind::BGPAdvertisement, parsed, before);
        for (name, advertisement) in &mut advertisements {
            advertisement.pools = chooser.choose(&advertisement.wanted);
            self.report_unknown(Kind::BGPAdvertisement, name, &advertisement.wanted);
        }
        self.check_aggregation(resources, &advertisements);
        let mut collisions = Collisions::default();
        self.bgp_advertisements =
            self.without_collisions(resources, advertisements, previous, &mut chooser, &mut collisions);
        self.bgp_of_pool =
            Announcers::new(self.bgp_advertisements.iter().map(|(name, a)| (name.as_str(), &a.pools)));
        (chooser, collisions)
    }

    /// What is valid, and else the version before that was.
    fn keep<T: Clone>(
        &mut self,
        kind: Kind,
        parsed: Parsed<T>,
        before: Option<&BTreeMap<String, T>>,
    ) -> BTreeMap<String, T> {
        let mut kept = Vec::with_capacity(parsed.len());
        for (name, result) in parsed {
            match result {
                Ok(value) => kept.push((name, value)),
                Err(error) => {
                    let before = before.and_then(|before| before.get(&name));
                    let fate = kind.fate(before.is_some());
                    self.problems.push(Problem::new(kind, &name, error, fate));
                    kept.extend(before.map(|before| (name, before.clone())));
                }
            }
        }
        kept.into_iter().collect()
    }

    /// As [`keep`](Self::keep), of objects that exclude each other: `add` takes one, or says why not.
    fn fit<T: Clone + PartialEq>(
        &mut self,
        kind: Kind,
        parsed: Parsed<T>,
        before: Option<&BTreeMap<String, T>>,
        mut add: impl FnMut(&T) -> Result<(), ConfigError>,
    ) -> BTreeMap<String, T> {
        let in_force = |name: &str| before.and_then(|before| before.get(name));
        let (mut unchanged, mut changed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (name, result) in parsed {
            match (result, in_force(&name)) {
                (Ok(value), Some(before)) if *before == value => unchanged.push((name, value)),
                (Ok(value), _) => changed.push((name, value)),
                (Err(error), before) => {
                    unchanged.extend(before.map(|before| (name.clone(), before.clone())));
                    errors.push((name, error));
                }
            }
        }
        let mut taken = Vec::new();
        let mut refused = Vec::new();
        // What is in force and unchanged excludes nothing of its like and comes first; then the rest by name.
        for (name, value) in unchanged.into_iter().chain(changed) {
            match add(&value) {
                Ok(()) => taken.push((name, value)),
                Err(error) => {
                    refused.extend(in_force(&name).map(|before| (name.clone(), before)));
                    errors.push((name, error));
                }
            }
        }
        for (name, before) in refused {
            // Another changed object may have taken its place.
            if add(before).is_ok() {
                taken.push((name, before.clone()));
            }
        }
        let taken: BTreeMap<String, T> = taken.into_iter().collect();
        for (name, error) in errors {
            let fate = kind.fate(taken.contains_key(&name));
            self.problems.push(Problem::new(kind, &name, error, fate));
        }
        taken
    }

    /// Hints at the pools that an advertisement names in vain.
    fn report_unknown(&mut self, kind: Kind, name: &str, wanted: &Wanted) {
        for pool in wanted.names.iter().filter(|pool| !self.pools.contains_key(*pool)) {
            let exists = self.pools_left_out.contains(pool);
            let error =
                ConfigError::UnknownPool { kind, advertisement: name.to_owned(), pool: pool.clone(), exists };
            let problem =
                Problem::new(kind, name, error, "the other pools of the advertisement are announced");
            self.problems.push(Problem { hint: true, ..problem });
        }
    }

    fn check_aggregation(
        &mut self,
        resources: &Resources<'_>,
        advertisements: &BTreeMap<String, BgpAdvertisement>,
    ) {
        let written = |pool: &str, range: &IpRange| {
            let object =
                resources.pools.iter().find(|object| object.metadata.name.as_deref() == Some(pool))?;
            object.spec.addresses.iter().find(|text| text.parse().as_ref() == Ok(range)).cloned()
        };
        let mut aggregation = Aggregation::new(&self.pools);
        for (name, advertisement) in advertisements {
            if let Err(error) = aggregation.check(advertisement, written) {
                let fate =
                    "no address is announced as part of a prefix that is larger than what its pool has";
                self.problems.push(Problem::new(Kind::BGPAdvertisement, name, error, fate));
            }
        }
    }

    /// Those advertisements that do not collide with another; what was in force before stays in any case.
    fn without_collisions(
        &mut self,
        resources: &Resources<'_>,
        advertisements: BTreeMap<String, BgpAdvertisement>,
        previous: Option<&Self>,
        chooser: &mut Chooser,
        collisions: &mut Collisions,
    ) -> BTreeMap<String, BgpAdvertisement> {
        let in_force = |name: &str| previous.and_then(|previous| previous.bgp_advertisements.get(name));
        let (unchanged, changed): (Vec<_>, Vec<_>) =
            advertisements.into_iter().partition(|(name, advertisement)| {
                in_force(name).is_some_and(|before| before.says_as(advertisement))
            });
        let mut taken = Vec::new();
        for (name, advertisement) in unchanged.into_iter().chain(changed) {
            match collisions.add(&advertisement, &self.pools, &resources.nodes) {
                Ok(()) => taken.push((name, advertisement)),
                Err(error) => {
                    let fate = Kind::BGPAdvertisement.fate(in_force(&name).is_some());
                    self.problems.push(Problem::new(Kind::BGPAdvertisement, &name, error, fate));
                    if let Some(before) = in_force(&name) {
                        let pools = chooser.choose(&before.wanted);
                        taken.push((name, BgpAdvertisement { pools, ..before.clone() }));
                    }
                }
            }
        }
        taken.into_iter().collect()
    }

    /// The last rule, between all kinds: BFD echo packets guard no IPv6 routes. The first case of each
    /// advertisement is reported.
    fn check_echo(&mut self) {
        let echo: Vec<&String> = self
            .bgp_peers
            .iter()
            .filter(|(_, peer)| peer.bfd.as_ref().is_some_and(|profile| profile.echo_mode))
            .map(|(name, _)| name)
            .collect();
        let with_v6 =
            |name: &&String| self.pools.get(*name).is_some_and(|pool: &Pool| pool.offers(net::Family::V6));
        let mut problems = Vec::new();
        for (name, advertisement) in &self.bgp_advertisements {
            let Some(peer) = echo.iter().find(|peer| advertisement.matches_peer(peer)) else { continue };
            let Some(pool) = advertisement.pools.iter().find(with_v6) else { continue };
            let error = ConfigError::EchoWithIpv6 {
                pool: pool.clone(),
                advertisement: name.clone(),
                peer: (*peer).clone(),
            };
            let fate = "all of them stay in force";
            problems.push(Problem::new(Kind::BGPAdvertisement, name, error, fate));
        }
        self.problems.extend(problems);
    }
}

impl Kind {
    /// What becomes of an object that is not valid.
    fn fate(self, kept: bool) -> &'static str {
        if kept {
            return "its last valid version stays in force until this is corrected";
        }
        match self {
            Self::BFDProfile => "the profile is not in use until this is corrected",
            Self::BGPPeer => "no session is kept with the peer until this is corrected",
            Self::IPAddressPool => "the pool is not in use until this is corrected",
            Self::Community => "none of its names is known until this is corrected",
            Self::L2Advertisement | Self::BGPAdvertisement => {
                "nothing is announced by it until this is corrected"
            }
        }
    }
}

impl Problem {
    fn new(kind: Kind, name: &str, error: ConfigError, fate: &str) -> Self {
        let object = ObjectRef { kind, name: name.to_owned() };
        Self { object, transient: error.is_transient(), error, fate: fate.to_owned(), hint: false }
    }
}

/// Objects in the order of their names, each read for itself; no name twice.
type Parsed<T> = Vec<(String, Result<T, ConfigError>)>;

/// Reads each object for itself, by name, told its place from 1. Of objects of one name, which only different
/// namespaces could bring, none is good; `duplicate` is told the name and the places of two.
fn parse_all<O, T>(
    objects: &[&O],
    name: impl Fn(&O) -> &Option<String>,
    parse: impl Fn(&O, usize) -> Result<T, ConfigError>,
    duplicate: impl Fn(String, (usize, usize)) -> ConfigError,
) -> Parsed<T> {
    let mut objects = objects.to_vec();
    objects.sort_by(|a, b| name(a).cmp(name(b)));
    let mut parsed: Parsed<T> = Vec::with_capacity(objects.len());
    for (place, object) in objects.into_iter().enumerate() {
        let name = name(object).as_deref().unwrap_or_default();
        match parsed.last_mut() {
            Some((last, result)) if last == name => {
                *result = Err(duplicate(name.to_owned(), (place, place + 1)));
            }
            _ => parsed.push((name.to_owned(), parse(object, place + 1))),
        }
    }
    parsed
}
