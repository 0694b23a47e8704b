//! Which pools advertisements ask for, and which advertisements a pool has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipam::{Labels, Selector, Test};

/// The pools that an advertisement asks for: by name or by label; neither stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) names: BTreeSet<String>,
    pub(crate) selectors: Vec<Selector>,
}

/// The pools in force, to choose from. Advertisements that want the same share one set, so that a thousand
/// advertisements of all of a thousand pools are no million entries.
pub(crate) struct Chooser<'a> {
    pools: BTreeMap<&'a str, &'a Labels>,
    by_label: HashMap<(&'a str, &'a str), Vec<&'a str>>,
    chosen: BTreeMap<Wanted, Arc<BTreeSet<String>>>,
}

/// The advertisements of each pool, by groups that announce the same pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcers {
    groups: Vec<BTreeSet<String>>,
    of_pool: BTreeMap<String, Vec<usize>>,
}

impl<'a> Chooser<'a> {
    pub(crate) fn new(pools: impl Iterator<Item = (&'a str, &'a Labels)>) -> Self {
        let pools: BTreeMap<_, _> = pools.collect();
        let mut by_label: HashMap<_, Vec<_>> = HashMap::new();
        for (name, labels) in &pools {
            for (key, value) in *labels {
                by_label.entry((key.as_str(), value.as_str())).or_default().push(*name);
            }
        }
        Self { pools, by_label, chosen: BTreeMap::new() }
    }

    /// The pools that are asked for, of those in force.
    pub(crate) fn choose(&mut self, wanted: &Wanted) -> Arc<BTreeSet<String>> {
        if let Some(chosen) = self.chosen.get(wanted) {
            return Arc::clone(chosen);
        }
        let mut names: BTreeSet<&str> = BTreeSet::new();
        if wanted.names.is_empty() && wanted.selectors.is_empty() {
            names.extend(self.pools.keys());
        }
        names.extend(wanted.names.iter().map(String::as_str).filter(|name| self.pools.contains_key(name)));
        for selector in &wanted.selectors {
            names.extend(self.candidates(selector).filter(|name| selector.matches(self.pools[name])));
        }
        let chosen: Arc<BTreeSet<String>> = Arc::new(names.into_iter().map(str::to_owned).collect());
        self.chosen.insert(wanted.clone(), Arc::clone(&chosen));
        chosen
    }

    /// The pools that a selector can match: those with one of the values that it asks for, or else all.
    fn candidates(&self, selector: &Selector) -> Box<dyn Iterator<Item = &'a str> + '_> {
        let asked = selector.requirements().find_map(|requirement| match &requirement.test {
            Test::In(values) => Some((requirement.key.as_str(), values)),
            _ => None,
        });
        let Some((key, values)) = asked else { return Box::new(self.pools.keys().copied()) };
        let found: Vec<&'a str> = values
            .iter()
            .filter_map(|value| self.by_label.get(&(key, value.as_str())))
            .flatten()
            .copied()
            .collect();
        Box::new(found.into_iter())
    }
}

impl Announcers {
    /// Of advertisements by name, each with its pools.
    pub(crate) fn new<'a>(
        advertisements: impl Iterator<Item = (&'a str, &'a Arc<BTreeSet<String>>)>,
    ) -> Self {
        let mut announcers = Self::default();
        let mut places = HashMap::new();
        for (name, pools) in advertisements {
            let place = *places.entry(Arc::as_ptr(pools)).or_insert_with(|| {
                let place = announcers.groups.len();
                for pool in pools.iter() {
                    announcers.of_pool.entry(pool.clone()).or_default().push(place);
                }
                announcers.groups.push(BTreeSet::new());
                place
            });
            announcers.groups[place].insert(name.to_owned());
        }
        announcers
    }

    /// The names of the advertisements of a pool, sorted.
    pub(crate) fn of(&self, pool: &str) -> BTreeSet<&str> {
        let places = self.of_pool.get(pool).into_iter().flatten();
        places.flat_map(|&place| &self.groups[place]).map(String::as_str).collect()
    }
}
