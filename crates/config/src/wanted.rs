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
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    pools: BTreeMap<String, Labels>,
    /// Key of a label -> its value -> the pools that have it.
    by_label: HashMap<String, HashMap<String, Vec<String>>>,
    chosen: BTreeMap<Wanted, Arc<BTreeSet<String>>>,
}

/// The advertisements of each pool, by groups that announce the same pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announcers {
    groups: Vec<BTreeSet<String>>,
    of_pool: BTreeMap<String, Vec<usize>>,
}

impl Chooser {
    /// Among these pools: names and labels.
    pub(crate) fn new<'a>(pools: impl Iterator<Item = (&'a str, &'a Labels)>) -> Self {
        let mut chooser = Self::default();
        for (name, labels) in pools {
            for (key, value) in labels {
                if !chooser.by_label.contains_key(key) {
                    chooser.by_label.insert(key.clone(), HashMap::new());
                }
                let values = chooser.by_label.get_mut(key).expect("it is there by now");
                match values.get_mut(value) {
                    Some(pools) => pools.push(name.to_owned()),
                    None => drop(values.insert(value.clone(), vec![name.to_owned()])),
                }
            }
            chooser.pools.insert(name.to_owned(), labels.clone());
        }
        chooser
    }

    /// The pools that are asked for, of those in force.
    pub(crate) fn choose(&mut self, wanted: &Wanted) -> Arc<BTreeSet<String>> {
        if let Some(chosen) = self.chosen.get(wanted) {
            return Arc::clone(chosen);
        }
        let chosen = Arc::new(self.find(wanted));
        self.chosen.insert(wanted.clone(), Arc::clone(&chosen));
        chosen
    }

    /// As [`choose`](Self::choose), remembering nothing.
    pub(crate) fn chosen(&self, wanted: &Wanted) -> Arc<BTreeSet<String>> {
        self.chosen.get(wanted).cloned().unwrap_or_else(|| Arc::new(self.find(wanted)))
    }

    fn find(&self, wanted: &Wanted) -> BTreeSet<String> {
        if wanted.names.is_empty() && wanted.selectors.is_empty() {
            return self.pools.keys().cloned().collect();
        }
        let mut names: BTreeSet<String> =
            wanted.names.iter().filter(|name| self.pools.contains_key(*name)).cloned().collect();
        for selector in &wanted.selectors {
            let candidates = self.candidates(selector);
            names.extend(candidates.filter(|name| selector.matches(&self.pools[*name])).cloned());
        }
        names
    }

    /// The pools that a selector can match: those with one of the values that it asks for, or else all.
    fn candidates(&self, selector: &Selector) -> Box<dyn Iterator<Item = &String> + '_> {
        let Some((key, values)) = asked(selector) else { return Box::new(self.pools.keys()) };
        let of_key = self.by_label.get(key);
        let found: Vec<&String> = values.iter().filter_map(|value| of_key?.get(value)).flatten().collect();
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

/// A label that a selector asks for, by key and values.
fn asked(selector: &Selector) -> Option<(&str, &BTreeSet<String>)> {
    selector.requirements().find_map(|requirement| match &requirement.test {
        Test::In(values) => Some((requirement.key.as_str(), values)),
        _ => None,
    })
}
