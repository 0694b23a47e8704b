//! A configuration, kept in such a way that a change to it is judged at the cost of that change.
//!
//! ```text
//! Resources ──Config::build──▶ Config, Chooser, Collisions ──▶ Index ◀── Change
//!                                                               │
//!                     admitted or refused ◀── what the change touches │ or else Config::admits, which builds anew
//! ```
//!
//! Of a configuration without mistakes it is known that no two objects disagree, so only the object that changes can
//! disagree with others. Where it does, and where it brings others into force that waited for it, and where there are
//! mistakes already, the whole is built to find the words: all of that is rare.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use ipam::Labels;
use net::Family;

use crate::community::Community;
use crate::local_pref::Collisions;
use crate::peer::{self, References};
use crate::wanted::{Chooser, Wanted};
use crate::{
    BgpAdvertisement, Change, Config, ConfigError, Kind, Object, ObjectRef, Resources, aggregation, bfd, bgp,
    community, l2, pools, validate,
};

/// The objects of a cluster, ready for many questions whether one of them may change.
#[derive(Debug)]
pub struct Index {
    config: Config,
    /// Whether nothing is wrong but what an object that may still appear would mend.
    sound: bool,
    chooser: Chooser,
    collisions: Collisions,
    announced: Announced,
    nodes: Vec<Labels>,
    /// Name of a community -> what it stands for, and the Community that says so.
    aliases: HashMap<String, (Community, String)>,
    /// Whatever BGPAdvertisements have among their communities.
    mentioned: HashSet<String>,
    /// BFDProfile, existing or not -> the first BGPPeer that names it.
    profile_users: BTreeMap<String, String>,
    /// The BGPPeers that send BFD echo packets.
    echoing: BTreeSet<String>,
}

/// BGP advertisements in force, by what pools they want.
#[derive(Debug, Default)]
struct Announced {
    groups: Vec<Group>,
    /// Name of a pool -> the groups that ask for it by name.
    by_name: HashMap<String, Vec<usize>>,
    /// The groups that ask for pools by label, or for all of them.
    by_label: Vec<usize>,
}

/// BGP advertisements that want the same pools.
#[derive(Debug)]
struct Group {
    wanted: Wanted,
    pools: Arc<BTreeSet<String>>,
    /// The shortest prefix lengths of their routes, of IPv4 and IPv6.
    shortest: [u8; 2],
    /// Whether one of them goes to a peer with BFD echo packets.
    echoes: bool,
}

impl Index {
    /// Builds the configuration and what it takes to judge changes to it, in O(n log n).
    pub fn new(resources: &Resources<'_>) -> Self {
        let (config, chooser, collisions) = Config::assemble(resources, None);
        let echoing: BTreeSet<String> = config
            .bgp_peers
            .values()
            .filter(|peer| peer.bfd.as_ref().is_some_and(|profile| profile.echo_mode))
            .map(|peer| peer.name.clone())
            .collect();
        let mut profile_users: BTreeMap<String, String> = BTreeMap::new();
        for peer in &resources.bgp_peers {
            if let (Some(profile), Some(name)) = (&peer.spec.bfd_profile, &peer.metadata.name) {
                let first = profile_users.entry(profile.clone()).or_insert_with(|| name.clone());
                if *name < *first {
                    first.clone_from(name);
                }
            }
        }
        let mentioned = resources.bgp_advertisements.iter().flat_map(|object| &object.spec.communities);
        let aliases = config.communities.values().flat_map(|community| {
            community.names.iter().map(|(name, value)| (name.clone(), (*value, community.name.clone())))
        });
        Self {
            sound: config.problems.iter().all(|problem| problem.hint || problem.transient),
            announced: Announced::new(config.bgp_advertisements.values(), &echoing),
            nodes: resources.nodes.iter().map(|labels| (*labels).clone()).collect(),
            aliases: aliases.collect(),
            mentioned: mentioned.cloned().collect(),
            profile_users,
            echoing,
            config,
            chooser,
            collisions,
        }
    }

    /// Whether the configuration, made of `resources`, would still be as valid with the change: what to refuse it
    /// with, if not. Says what [`validate`](crate::validate) says, mostly at the cost of the change alone.
    pub fn admits(&self, resources: &Resources<'_>, change: Change<'_>) -> Result<(), ConfigError> {
        self.judge(change).unwrap_or_else(|| self.config.admits(resources, change))
    }

    /// What [`admits`](Self::admits) says, where that can be told at the cost of the change alone; `None` where it
    /// takes all resources.
    pub fn judge(&self, change: Change<'_>) -> Option<Result<(), ConfigError>> {
        let object = match change {
            Change::Delete(object) => return Some(self.deletable(object)),
            Change::Apply(object) => object,
        };
        if !self.sound || object.name().is_empty() {
            return None;
        }
        match self.apply(object) {
            Ok(Verdict::Fine) => Some(Ok(())),
            Ok(Verdict::Unclear) => None,
            // Nothing is refused for what may still appear.
            Err(error) if error.is_transient() => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// As [`validate`](crate::validate) has it of all peers.
    fn deletable(&self, object: &ObjectRef) -> Result<(), ConfigError> {
        match self.profile_users.get(&object.name).filter(|_| object.kind == Kind::BFDProfile) {
            Some(peer) => {
                Err(ConfigError::BfdProfileInUse { profile: object.name.clone(), peer: peer.clone() })
            }
            None => Ok(()),
        }
    }

    fn apply(&self, object: Object<'_>) -> Result<Verdict, ConfigError> {
        match object {
            Object::BfdProfile(object) => self.apply_profile(object),
            Object::BgpPeer(object) => {
                // Without what it refers to it takes part in no rule between objects.
                let object = validate::without_references(object);
                let references = References { secrets: BTreeMap::new(), profiles: &self.config.bfd_profiles };
                peer::parse(&object, &references).map(|_| Verdict::Fine)
            }
            Object::IpAddressPool(object) => self.apply_pool(object),
            Object::Community(object) => self.apply_community(object),
            // No rule is between these and others.
            Object::L2Advertisement(object) => l2::parse(object).map(|_| Verdict::Fine),
            Object::BgpAdvertisement(object) => self.apply_advertisement(object),
        }
    }

    fn apply_profile(&self, object: &api::BFDProfile) -> Result<Verdict, ConfigError> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let profiles = &self.config.bfd_profiles;
        let earlier = || profiles.range::<str, _>((Bound::Unbounded, Bound::Excluded(name))).count();
        let profile = bfd::parse(object, 1).map_err(|error| match error {
            ConfigError::BfdProfile { source, .. } => {
                ConfigError::BfdProfile { place: earlier() + 1, source }
            }
            other => other,
        })?;
        let echoed = profiles.get(name).is_some_and(|before| before.echo_mode);
        // The peers that name it begin to send echo packets.
        let begins = profile.echo_mode && !echoed && self.profile_users.contains_key(name);
        Ok(Verdict::fine_unless(begins))
    }

    fn apply_pool(&self, object: &api::IPAddressPool) -> Result<Verdict, ConfigError> {
        let pool = pools::parse(object)?;
        pools::fits(&pool, &self.config)?;
        let none = Labels::new();
        let labels = object.metadata.labels.as_ref().unwrap_or(&none);
        let groups: Vec<&Group> = self.announced.of(&pool.name, labels).collect();
        let longest = aggregation::longest(&pool);
        let too_large = |group: &Group| (0..2).any(|family| group.shortest[family] < longest[family]);
        let echoes = |group: &Group| group.echoes && pool.offers(Family::V6);
        if groups.iter().any(|group| too_large(group) || echoes(group)) {
            return Ok(Verdict::Unclear);
        }
        let sets: Vec<&Arc<BTreeSet<String>>> = groups.iter().map(|group| &group.pools).collect();
        Ok(Verdict::fine_unless(self.collisions.would_make_any(
            &sets,
            &pool,
            self.config.pools.get(&pool.name),
        )))
    }

    fn apply_community(&self, object: &api::Community) -> Result<Verdict, ConfigError> {
        let community = community::parse(object)?;
        for alias in community.names.keys() {
            if let Some((_, owner)) = self.aliases.get(alias).filter(|(_, owner)| *owner != community.name) {
                return Err(ConfigError::DuplicateCommunity {
                    name: alias.clone(),
                    other: Some(owner.clone()),
                });
            }
        }
        // Advertisements that mention a name which is given or taken away come into force, or may not stay.
        let none = BTreeMap::new();
        let before = self.config.communities.get(&community.name).map_or(&none, |before| &before.names);
        let given = community.names.keys().filter(|alias| !before.contains_key(*alias));
        let taken = before.keys().filter(|alias| !community.names.contains_key(*alias));
        Ok(Verdict::fine_unless(given.chain(taken).any(|alias| self.mentioned.contains(alias))))
    }

    fn apply_advertisement(&self, object: &api::BGPAdvertisement) -> Result<Verdict, ConfigError> {
        let object = validate::without_unknown_names(object, |text| self.aliases.contains_key(text));
        let advertisement = bgp::parse(&object, |text| self.aliases.get(text).map(|(value, _)| *value))?;
        let advertisement =
            BgpAdvertisement { pools: self.chooser.chosen(&advertisement.wanted), ..advertisement };
        let pools = || advertisement.pools.iter().filter_map(|name| self.config.pools.get(name));
        let lengths = [advertisement.aggregation_length, advertisement.aggregation_length_v6];
        let too_large = lengths != [32, 128]
            && pools().any(|pool| {
                let longest = aggregation::longest(pool);
                (0..2).any(|family| lengths[family] < longest[family])
            });
        let echoes = || {
            self.echoing.iter().any(|peer| advertisement.matches_peer(peer))
                && pools().any(|pool| pool.offers(Family::V6))
        };
        let before = self.config.bgp_advertisements.get(&advertisement.name);
        let collides = || self.collisions.would_collide(&advertisement, before, &self.nodes);
        Ok(Verdict::fine_unless(too_large || echoes() || collides()))
    }
}

/// What is to be said of an object in which nothing is wrong by itself.
enum Verdict {
    /// It disagrees with none.
    Fine,
    /// It may disagree with others.
    Unclear,
}

impl Verdict {
    fn fine_unless(unclear: bool) -> Self {
        if unclear { Self::Unclear } else { Self::Fine }
    }
}

impl Announced {
    fn new<'a>(
        advertisements: impl Iterator<Item = &'a BgpAdvertisement>,
        echoing: &BTreeSet<String>,
    ) -> Self {
        let mut announced = Self::default();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for advertisement in advertisements {
            let wanted = &advertisement.wanted;
            let place = *places.entry(Arc::as_ptr(&advertisement.pools).addr()).or_insert_with(|| {
                let place = announced.groups.len();
                for name in &wanted.names {
                    announced.by_name.entry(name.clone()).or_default().push(place);
                }
                if !wanted.selectors.is_empty() || wanted.names.is_empty() {
                    announced.by_label.push(place);
                }
                announced.groups.push(Group {
                    wanted: wanted.clone(),
                    pools: Arc::clone(&advertisement.pools),
                    shortest: [32, 128],
                    echoes: false,
                });
                place
            });
            let group = &mut announced.groups[place];
            let lengths = [advertisement.aggregation_length, advertisement.aggregation_length_v6];
            group.shortest = [0, 1].map(|family| group.shortest[family].min(lengths[family]));
            group.echoes |= echoing.iter().any(|peer| advertisement.matches_peer(peer));
        }
        announced
    }

    /// The groups that want a pool of this name with these labels.
    fn of(&self, name: &str, labels: &Labels) -> impl Iterator<Item = &Group> {
        let by_name = self.by_name.get(name).into_iter().flatten();
        let by_label = self.by_label.iter().filter(|place| {
            let wanted = &self.groups[**place].wanted;
            let all = wanted.names.is_empty() && wanted.selectors.is_empty();
            let matches = || wanted.selectors.iter().any(|selector| selector.matches(labels));
            all || (!wanted.names.contains(name) && matches())
        });
        by_name.chain(by_label).map(|place| &self.groups[*place])
    }
}
