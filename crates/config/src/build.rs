//! From the objects to the Config, each object for itself.

use std::collections::{BTreeMap, BTreeSet};

use ipam::Labels;

use crate::error::ConfigError;
use crate::pools::{self, Disjoint};
use crate::{Config, Kind, ObjectRef, Problem, l2};

/// The objects of the cluster that make up a configuration, in any order.
#[derive(Clone, Debug, Default)]
pub struct Resources<'a> {
    /// All IPAddressPools in MetalLB's namespace.
    pub pools: Vec<&'a api::IPAddressPool>,
    /// All L2Advertisements in MetalLB's namespace.
    pub l2_advertisements: Vec<&'a api::L2Advertisement>,
}

impl Config {
    /// Validates the objects and puts together what is valid, in O(n log n).
    ///
    /// Where `previous`, the Config in force so far, has a good version of an object that is not valid now, that
    /// version stays in force. Of two pools that overlap the one that was in force and has not changed stays, else
    /// the first by name; the other is at fault.
    pub fn build(resources: &Resources<'_>, previous: Option<&Self>) -> Self {
        let mut config = Self::default();
        config.add_pools(&resources.pools, previous);
        config.add_l2_advertisements(resources, previous);
        config.problems.sort();
        config
    }

    fn add_pools(&mut self, objects: &[&api::IPAddressPool], previous: Option<&Self>) {
        let in_force = |name: &str| previous.and_then(|previous| previous.pools.get(name));
        let (mut unchanged, mut changed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (name, parsed) in parse_all(objects, "pool", |pool| &pool.metadata.name, pools::parse) {
            match (parsed, in_force(&name)) {
                (Ok(pool), Some(before)) if *before == pool => unchanged.push(pool),
                (Ok(pool), _) => changed.push(pool),
                (Err(error), before) => {
                    unchanged.extend(before.cloned());
                    errors.push((name, error));
                }
            }
        }
        let mut disjoint = Disjoint::default();
        let mut refused = Vec::new();
        // What is in force and unchanged does not overlap and comes first; then everything else by name.
        for pool in unchanged.into_iter().chain(changed) {
            match disjoint.add(&pool) {
                Ok(()) => {
                    self.pools.insert(pool.name.clone(), pool);
                }
                Err(error) => {
                    refused.extend(in_force(&pool.name));
                    errors.push((pool.name, error));
                }
            }
        }
        for before in refused {
            // Another changed pool may have taken its place.
            if disjoint.add(before).is_ok() {
                self.pools.insert(before.name.clone(), before.clone());
            }
        }
        self.ranges = disjoint.into_index();
        for (name, error) in errors {
            let kept = self.pools.contains_key(&name);
            if !kept {
                self.pools_left_out.insert(name.clone());
            }
            let fate = if kept {
                "the last valid version of the pool stays in force until this is corrected"
            } else {
                "the pool is not in use until this is corrected"
            };
            self.problems.push(Problem::of(Kind::IPAddressPool, name, format!("{error}; {fate}")));
        }
    }

    fn add_l2_advertisements(&mut self, resources: &Resources<'_>, previous: Option<&Self>) {
        let empty = Labels::new();
        let labels: BTreeMap<&str, &Labels> = resources
            .pools
            .iter()
            .filter_map(|pool| {
                Some((pool.metadata.name.as_deref()?, pool.metadata.labels.as_ref().unwrap_or(&empty)))
            })
            .collect();
        let parsed =
            parse_all(&resources.l2_advertisements, "l2advertisement", |adv| &adv.metadata.name, l2::parse);
        for (name, parsed) in parsed {
            let before = previous.and_then(|previous| previous.l2_advertisements.get(&name));
            let advertisement = match parsed {
                Ok(advertisement) => Some(advertisement),
                Err(error) => {
                    let fate = if before.is_some() {
                        "the last valid version of the advertisement stays in force until this is corrected"
                    } else {
                        "nothing is announced by it until this is corrected"
                    };
                    let message = format!("{error}; {fate}");
                    self.problems.push(Problem::of(Kind::L2Advertisement, name.clone(), message));
                    before.cloned()
                }
            };
            let Some(mut advertisement) = advertisement else { continue };
            advertisement.pools =
                advertisement.wanted.choose(labels.iter().map(|(name, labels)| (*name, *labels)));
            for pool in advertisement.wanted.names.iter().filter(|name| !self.pools.contains_key(*name)) {
                let message = unknown_pool(&name, pool, self.pools_left_out.contains(pool));
                let problem = Problem::of(Kind::L2Advertisement, name.clone(), message);
                self.problems.push(Problem { transient: true, ..problem });
            }
            self.l2_advertisements.insert(name, advertisement);
        }
        self.l2_of_pool = l2::by_pool(&self.l2_advertisements);
    }
}

impl Problem {
    fn of(kind: Kind, name: String, message: String) -> Self {
        Self { object: ObjectRef { kind, name }, message, transient: false }
    }
}

/// What to tell of an advertisement that names a pool which is not in force.
fn unknown_pool(advertisement: &str, pool: &str, exists: bool) -> String {
    if exists {
        format!(
            "L2Advertisement {advertisement:?} refers to IPAddressPool {pool:?}, which is not valid: correct that \
             pool, its events say how; the other pools of the advertisement are announced"
        )
    } else {
        format!(
            "L2Advertisement {advertisement:?} refers to IPAddressPool {pool:?}, which does not exist: create it in \
             the same namespace or correct spec.ipAddressPools; the other pools of the advertisement are announced"
        )
    }
}

/// Reads each object for itself, by name. Of objects of one name, which only different namespaces could bring,
/// none is good.
fn parse_all<O, T>(
    objects: &[&O],
    what: &'static str,
    name: impl Fn(&O) -> &Option<String>,
    parse: impl Fn(&O) -> Result<T, ConfigError>,
) -> BTreeMap<String, Result<T, ConfigError>> {
    let mut parsed = BTreeMap::new();
    let mut duplicates = BTreeSet::new();
    for object in objects {
        let name = name(object).clone().unwrap_or_default();
        if parsed.insert(name.clone(), parse(object)).is_some() {
            duplicates.insert(name);
        }
    }
    for name in duplicates {
        parsed.insert(name.clone(), Err(ConfigError::DuplicateObject { what, name }));
    }
    parsed
}
