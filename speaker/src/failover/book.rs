//! Where the other speakers are reached.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use membership::{Electorate, NodeId};

use crate::core::RosterView;

/// The addresses of those on the list, and of those who are off it and vote still: without them the others could neither
/// keep their leases nor agree on the electorate that comes after.
#[derive(Debug, Default)]
pub(super) struct Book {
    listed: HashMap<NodeId, IpAddr>,
    former: BTreeMap<NodeId, IpAddr>,
}

impl Book {
    /// The addresses of the list, and of those who were known before as no longer on it.
    pub(super) fn new(view: &RosterView, former: BTreeMap<NodeId, IpAddr>) -> Self {
        Self { listed: listed(view), former }
    }

    /// The list is this now, and these are the electorates.
    pub(super) fn list(&mut self, view: &RosterView, electorates: &[Electorate]) {
        let before = std::mem::replace(&mut self.listed, listed(view));
        self.former.extend(before);
        self.retain(electorates);
    }

    /// Forgets who neither is on the list nor votes in one of these electorates.
    pub(super) fn retain(&mut self, electorates: &[Electorate]) {
        let votes = |node: &NodeId| electorates.iter().any(|electorate| electorate.voters.contains(node));
        let listed = &self.listed;
        self.former.retain(|node, _| !listed.contains_key(node) && votes(node));
    }

    /// Where that speaker is reached.
    pub(super) fn get(&self, node: NodeId) -> Option<IpAddr> {
        self.listed.get(&node).or_else(|| self.former.get(&node)).copied()
    }

    /// Those who are off the list.
    pub(super) fn former(&self) -> &BTreeMap<NodeId, IpAddr> {
        &self.former
    }
}

fn listed(view: &RosterView) -> HashMap<NodeId, IpAddr> {
    view.speakers.iter().map(|(node, address)| (NodeId::of(node), *address)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[(&str, u8)]) -> RosterView {
        let speakers = nodes.iter().map(|(node, last)| ((*node).to_owned(), address(*last)));
        RosterView { revision: 1, speakers: speakers.collect() }
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn voters(nodes: &[&str]) -> Electorate {
        Electorate::of(1, &nodes.iter().map(|node| NodeId::of(node)).collect::<Vec<_>>())
    }

    #[test]
    fn whoever_leaves_the_list_is_reached_until_the_electorates_do_without_him() {
        let (all, left) = (voters(&["n1", "n2", "n3", "n4"]), voters(&["n1", "n4"]));
        let of = |book: &Book, node| book.get(NodeId::of(node));
        let mut book = Book::new(&view(&[("n1", 1), ("n2", 2), ("n3", 3), ("n4", 4)]), BTreeMap::new());
        book.list(&view(&[("n1", 1), ("n3", 3)]), std::slice::from_ref(&all));
        assert_eq!(of(&book, "n2"), Some(address(2)));
        book.list(&view(&[("n1", 9)]), &[all.clone(), left.clone()]);
        assert_eq!([of(&book, "n1"), of(&book, "n3")], [Some(address(9)), Some(address(3))]);
        // Read again after a restart.
        let mut book = Book::new(&view(&[("n1", 9)]), book.former().clone());
        assert_eq!(of(&book, "n3"), Some(address(3)));
        book.retain(&[left]);
        assert_eq!([of(&book, "n2"), of(&book, "n3")], [None, None]);
        assert_eq!(of(&book, "n4"), Some(address(4)), "off the list, and still a voter");
        book.list(&view(&[("n1", 1), ("n4", 8)]), &[all]);
        assert_eq!((of(&book, "n4"), book.former().len()), (Some(address(8)), 0), "on the list again");
    }
}
