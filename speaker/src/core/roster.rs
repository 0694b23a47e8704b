//! Which nodes have a speaker: the list that the speakers themselves keep in a ConfigMap (docs/adr/0011).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube_ext::ObjectKey;
use l2::Instant;
use tracing::{info, warn};

use super::effect::Effect;

/// After how long a node that is gone, or has no speaker's Pod any more, is struck off: longer than a Pod is replaced.
const GONE: Duration = Duration::from_secs(60);

/// The list as it is in the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosterView {
    /// Its `metadata.resourceVersion`: later lists have greater ones.
    pub revision: u64,
    /// The nodes, with the address by which the other speakers reach each.
    pub speakers: BTreeMap<String, IpAddr>,
}

impl From<&ConfigMap> for RosterView {
    fn from(object: &ConfigMap) -> Self {
        let text = object.metadata.resource_version.as_deref().unwrap_or_default();
        let mut speakers = BTreeMap::new();
        for (node, address) in object.data.iter().flatten() {
            if let Ok(address) = address.parse() {
                speakers.insert(node.clone(), address);
            } else {
                warn!(
                    node,
                    "the list of speakers has {address:?}, which is no IP address, for the node: delete that key of the ConfigMap"
                );
            }
        }
        Self { revision: text.parse().unwrap_or(0), speakers }
    }
}

/// The list, and who in it is gone.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// The list that this node goes by.
    view: RosterView,
    /// The list as the API has it: it may leave out who is still there, for a moment.
    latest: RosterView,
    /// The node of each speaker's Pod, ready or not, and whether the Pod is being ended.
    pods: BTreeMap<ObjectKey, (String, bool)>,
    /// Since when a listed node has been without Pod, or without Node.
    absent: BTreeMap<String, Instant>,
    /// Whether this node sees to those who are gone.
    sees_to_it: bool,
}

impl Roster {
    /// The list is this in the API now.
    pub(super) fn apply(&mut self, view: RosterView) {
        self.latest = view;
    }

    /// Goes by the list as the API has it, where that can be true: the nodes that it leaves out and the former one had, then.
    ///
    /// A list without this node (`own`, unless its speaker is `leaving`), or without another one whose speaker's Pod is there to stay, was made
    /// anew or edited by somebody: whoever it leaves out enters itself again at once. Until then it counts as not seen, and the
    /// electorates follow as from a view that lags.
    pub(super) fn settle(
        &mut self,
        own: &str,
        leaving: bool,
        exists: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        if self.latest == self.view {
            return None;
        }
        let listed = |node: &str| self.latest.speakers.contains_key(node);
        let stays = |node: &str| self.pods.values().any(|(on, ends)| on == node && !ends) && exists(node);
        let gone: Vec<String> = self.view.speakers.keys().filter(|node| !listed(node)).cloned().collect();
        if !leaving && !listed(own) || gone.iter().any(|node| node != own && stays(node)) {
            return None;
        }
        if self.latest.speakers != self.view.speakers {
            info!(speakers = self.latest.speakers.len(), "the list of speakers changed");
        }
        self.view = self.latest.clone();
        Some(gone)
    }

    /// The list that this node goes by.
    pub(super) fn view(&self) -> &RosterView {
        &self.view
    }

    /// The list as the API has it.
    pub(super) fn latest(&self) -> &RosterView {
        &self.latest
    }

    /// The Pod runs on that node, for the time being or to its end, or is gone.
    pub(super) fn pod(&mut self, pod: ObjectKey, node: Option<String>, ends: bool) {
        match node {
            Some(node) => self.pods.insert(pod, (node, ends)),
            None => self.pods.remove(&pod),
        };
    }

    /// Looks who is absent at `now`, and asks for the removal of those who have been for long, where it is for this
    /// node to see to that.
    pub(super) fn look(
        &mut self,
        now: Instant,
        exists: impl Fn(&str) -> bool,
        sees_to_it: bool,
        out: &mut Vec<Effect>,
    ) {
        self.sees_to_it = sees_to_it;
        let present: BTreeSet<&String> = self.pods.values().map(|(node, _)| node).collect();
        let gone = |node: &&String| !present.contains(*node) || !exists(node);
        let absent: BTreeSet<String> = self.view.speakers.keys().filter(gone).cloned().collect();
        self.absent.retain(|node, _| absent.contains(node));
        for node in absent {
            let since = *self.absent.entry(node.clone()).or_insert(now);
            if sees_to_it && now >= since + GONE {
                // Asked for again, should it still be there after as long again.
                self.absent.insert(node.clone(), now);
                info!(node, "the node has no speaker any more and is struck off the list of speakers");
                out.push(Effect::Strike { node, revision: self.view.revision });
            }
        }
    }

    /// When to look again, where that is for this node.
    pub(super) fn next(&self) -> Option<Instant> {
        self.absent.values().min().filter(|_| self.sees_to_it).map(|&since| since + GONE)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(seconds))
    }

    fn strikes(roster: &mut Roster, now: u64, nodes: &[&str], mine: bool) -> Vec<String> {
        let mut out = Vec::new();
        roster.look(at(now), |node| nodes.contains(&node), mine, &mut out);
        let struck = |effect| match effect {
            Effect::Strike { node, revision: 7 } => node,
            other => panic!("{other:?}"),
        };
        out.into_iter().map(struck).collect()
    }

    #[test]
    fn entries_that_are_no_addresses_are_left_out() {
        let object = json!({"metadata": {"resourceVersion": "7"}, "data": {"n1": "192.0.2.1", "n2": "fd00::2", "n3": "?"}});
        let view = RosterView::from(&serde_json::from_value::<ConfigMap>(object).expect("a ConfigMap"));
        assert_eq!(view.revision, 7);
        assert_eq!(view.speakers.keys().collect::<Vec<_>>(), ["n1", "n2"]);
    }

    #[test]
    fn a_node_without_pod_or_node_is_struck_off_after_a_minute_by_the_one_who_sees_to_it() {
        let pod = |name: &str| ObjectKey::new("metallb-system", name);
        let speakers = ["n1", "n2"].map(|n| (n.to_owned(), "192.0.2.1".parse().expect("an address")));
        let mut roster = Roster::default();
        roster.apply(RosterView { revision: 7, speakers: speakers.into() });
        assert_eq!(roster.settle("n1", false, |_| true), Some(vec![]));
        roster.pod(pod("a"), Some("n1".into()), false);
        roster.pod(pod("b"), Some("n2".into()), false);
        let none: [&str; 0] = [];
        assert_eq!(strikes(&mut roster, 0, &["n1", "n2"], true), none);
        assert_eq!(roster.next(), None);
        // Its Pod is replaced: nothing comes of that.
        roster.pod(pod("b"), None, false);
        assert_eq!(strikes(&mut roster, 10, &["n1", "n2"], true), none);
        assert_eq!(roster.next(), Some(at(70)));
        roster.pod(pod("c"), Some("n2".into()), false);
        assert_eq!(strikes(&mut roster, 50, &["n1", "n2"], true), none);
        assert_eq!(roster.next(), None);
        // The Node is deleted.
        assert_eq!(strikes(&mut roster, 100, &["n1"], true), none);
        assert_eq!(strikes(&mut roster, 160, &["n1"], false), none, "another one does it");
        assert_eq!(roster.next(), None, "and nothing here is due");
        assert_eq!(strikes(&mut roster, 161, &["n1"], true), ["n2"]);
        assert_eq!(strikes(&mut roster, 162, &["n1"], true), none, "it is under way");
        assert_eq!(strikes(&mut roster, 221, &["n1"], true), ["n2"], "it did not come about");
    }

    #[test]
    fn a_list_that_leaves_out_who_is_there_is_not_gone_by() {
        let pod = |name: &str| ObjectKey::new("metallb-system", name);
        let list = |revision, nodes: &[&str]| RosterView {
            revision,
            speakers: nodes
                .iter()
                .map(|node| ((*node).to_owned(), "192.0.2.1".parse().expect("an address")))
                .collect(),
        };
        let mut roster = Roster::default();
        let (all, gone) =
            (|_: &str| true, |nodes: &[&str]| Some(nodes.iter().map(|n| (*n).to_owned()).collect()));
        roster.apply(list(1, &[]));
        assert_eq!(roster.settle("n1", false, all), None, "this node is not in it yet");
        roster.apply(list(2, &["n1", "n2", "n3"]));
        assert_eq!(roster.settle("n1", false, all), gone(&[]));
        assert_eq!(roster.settle("n1", false, all), None, "nothing new");
        for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n3")] {
            roster.pod(pod(name), Some(node.into()), false);
        }
        // It was deleted, and made anew; the speakers enter themselves one after the other.
        for (revision, nodes) in [(5, &[][..]), (6, &["n2"]), (7, &["n1", "n2"])] {
            roster.apply(list(revision, nodes));
            assert_eq!(roster.settle("n1", false, all), None, "{nodes:?}");
            assert_eq!(roster.view().revision, 2);
        }
        roster.apply(list(8, &["n1", "n2", "n3"]));
        assert_eq!(roster.settle("n1", false, all), gone(&[]));
        assert_eq!(roster.view().revision, 8);
        // One leaves for good: the list may be seen before its Pod's end is.
        roster.apply(list(9, &["n1", "n2"]));
        assert_eq!(roster.settle("n1", false, all), None);
        roster.pod(pod("c"), Some("n3".into()), true);
        assert_eq!(roster.settle("n1", false, all), gone(&["n3"]));
        // One whose Node is gone, and this one, which ends.
        roster.apply(list(10, &[]));
        assert_eq!(roster.settle("n1", false, |node| node == "n1"), None, "it does not end");
        assert_eq!(roster.settle("n1", true, |node| node == "n1"), gone(&["n1", "n2"]));
    }
}
