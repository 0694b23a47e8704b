//! What is announced of a prefix, whoever the peer is.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use crate::packet::{Community, LargeCommunity};

/// The local preference of routes that ask for none, as other implementations have it.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// Room for communities in one message, in bytes: the rest of 4,096 is for other attributes and one prefix.
const MAX_COMMUNITIES: usize = 3_840;

/// What is announced of a prefix, whoever the peer is. Equal routes are told in one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The local preference within the AS; `None` is [`DEFAULT_LOCAL_PREF`].
    pub local_pref: Option<u32>,
    /// The communities.
    pub communities: BTreeSet<Community>,
    /// The large communities.
    pub large_communities: BTreeSet<LargeCommunity>,
}

impl Route {
    /// Whether it fits a message: about 950 communities or 310 large ones do.
    pub fn fits(&self) -> bool {
        4 * self.communities.len() + 12 * self.large_communities.len() <= MAX_COMMUNITIES
    }

    /// The local preference that counts.
    pub fn preference(&self) -> u32 {
        self.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)
    }

    /// What several ask for one prefix, in one route: all communities, the highest local preference.
    #[must_use]
    pub fn united<'a>(routes: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut united = Self::default();
        let mut preference = None;
        for route in routes {
            preference = preference.max(Some(route.preference()));
            united.local_pref = united.local_pref.max(route.local_pref);
            united.communities.extend(&route.communities);
            united.large_communities.extend(&route.large_communities);
        }
        // One below the default counts only where nobody asks for the default.
        if preference != Some(united.preference()) {
            united.local_pref = None;
        }
        united
    }
}

/// One prefix is to be announced in this way, or not at all any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub prefix: IpNet,
    /// How it is announced; `None` withdraws it.
    pub route: Option<Arc<Route>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_local_preferences_the_highest_counts_and_none_is_the_default() {
        for (preferences, united) in [
            (&[None, None][..], None),
            (&[Some(50), Some(70)], Some(70)),
            (&[Some(50), None], None),
            (&[Some(200), None], Some(200)),
            (&[Some(100), None], Some(100)),
        ] {
            let routes: Vec<Route> =
                preferences.iter().map(|p| Route { local_pref: *p, ..Route::default() }).collect();
            assert_eq!(Route::united(&routes).local_pref, united, "{preferences:?}");
        }
    }
}
