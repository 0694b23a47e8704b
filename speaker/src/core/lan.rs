//! This node's interfaces, and which address each answers for.

use std::collections::{BTreeMap, HashSet};

use net::MacAddr;
use sockets::{Hindrance, Link, LinkChange};
use tracing::{debug, info};

use super::effect::{Command, Effect};
use crate::exclude::Exclude;
use crate::failover::LinkView;

/// The interfaces of this node.
#[derive(Debug)]
pub(crate) struct Lan {
    exclude: Exclude,
    links: BTreeMap<u32, Link>,
    open: BTreeMap<u32, Open>,
    allies: HashSet<MacAddr>,
    /// What was told last of the interfaces for addresses.
    views: Vec<LinkView>,
}

/// The Services that a change of a link concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// None: the same interfaces can be used as before.
    Nobody,
    /// Those whose advertisements choose interfaces by name.
    Choosers,
    /// All: there is a first interface, or none is left.
    Everybody,
}

/// An interface that answers.
#[derive(Debug)]
struct Open {
    name: String,
    link: l2::Link,
}

impl Lan {
    pub(crate) fn new(exclude: Exclude) -> Self {
        Self {
            exclude,
            links: BTreeMap::new(),
            open: BTreeMap::new(),
            allies: HashSet::new(),
            views: Vec::new(),
        }
    }

    /// Takes in a change of a link, and says whom that concerns.
    pub(crate) fn apply(&mut self, change: LinkChange, out: &mut Vec<Effect>) -> Concerns {
        let before: Vec<String> = self.names();
        match change {
            LinkChange::Apply(link) => {
                let index = link.index;
                if self.links.get(&index).is_some_and(|old| old.name != link.name) {
                    self.close(index, "it has another name", out);
                }
                match self.obstacle(&link) {
                    None => self.keep_open(&link, out),
                    Some(reason) => {
                        debug!(interface = link.name, "nothing is announced here: {reason}");
                        self.close(index, &reason, out);
                    }
                }
                self.links.insert(index, link);
            }
            LinkChange::Gone { index, .. } => {
                self.links.remove(&index);
                self.close(index, "it is gone", out);
            }
            LinkChange::Synced => {}
        }
        self.tell_allies(out);
        self.tell_views(out);
        match self.names() {
            names if names == before => Concerns::Nobody,
            names if names.is_empty() || before.is_empty() => Concerns::Everybody,
            _ => Concerns::Choosers,
        }
    }

    /// Whether addresses can be announced on any interface.
    pub(crate) fn any_usable(&self) -> bool {
        !self.open.is_empty()
    }

    /// Why each interface that cannot be used cannot, with its name.
    pub(crate) fn hindrances(&self) -> Vec<String> {
        let name = |link: &Link| self.obstacle(link).map(|reason| format!("{}: {reason}", link.name));
        self.links.values().filter_map(name).collect()
    }

    /// Whether addresses can be announced on the interface of this name.
    pub(crate) fn usable(&self, name: &str) -> bool {
        self.open.values().any(|open| open.name == name)
    }

    /// Why an interface that exists cannot be used, with its name.
    pub(crate) fn hindrance(&self, name: &str) -> Option<String> {
        let link = self.links.values().find(|link| link.name == name)?;
        self.obstacle(link).map(|reason| format!("{name}: {reason}"))
    }

    /// The names of the interfaces that answer, in order of their numbers.
    fn names(&self) -> Vec<String> {
        self.open.values().map(|open| open.name.clone()).collect()
    }

    fn obstacle(&self, link: &Link) -> Option<String> {
        if let Some(hindrance) = link.hindrance() {
            return Some(hindrance.to_string());
        }
        self.exclude.matches(&link.name).then(|| "it is excluded by announcedInterfacesToExclude".to_owned())
    }

    fn keep_open(&mut self, link: &Link, out: &mut Vec<Effect>) {
        let Some(mac) = link.mac else { return };
        let index = link.index;
        let state =
            l2::Link { mac, carrier: link.carrier, arp: link.broadcast, ndp: !link.link_local.is_empty() };
        if let Some(open) = self.open.get_mut(&index) {
            if open.link != state {
                open.link = state;
                out.push(Effect::Interface { index, command: Command::Link(state) });
            }
            return;
        }
        info!(interface = link.name, %mac, "answering on this interface");
        out.push(Effect::Open { index, name: link.name.clone(), link: state });
        out.push(Effect::Interface { index, command: Command::Allies(self.allies.clone()) });
        self.open.insert(index, Open { name: link.name.clone(), link: state });
    }

    fn close(&mut self, index: u32, reason: &str, out: &mut Vec<Effect>) {
        if let Some(open) = self.open.remove(&index) {
            info!(interface = open.name, "not answering on this interface any more: {reason}");
            out.push(Effect::Close { index });
        }
    }

    /// Tells which interfaces there are for addresses, up or not, where that changed.
    fn tell_views(&mut self, out: &mut Vec<Effect>) {
        let fit = |link: &&Link| match link.hindrance() {
            None | Some(Hindrance::Down) => !self.exclude.matches(&link.name),
            Some(_) => false,
        };
        let view = |link: &Link| LinkView {
            index: link.index,
            name: link.name.clone(),
            mac: link.mac,
            up: link.up && link.carrier && !link.link_local.is_empty(),
        };
        let views: Vec<LinkView> = self.links.values().filter(fit).map(view).collect();
        if views != self.views {
            self.views.clone_from(&views);
            out.push(Effect::Links(views));
        }
    }

    /// Tells every open interface which hardware addresses are the node's, where that changed.
    fn tell_allies(&mut self, out: &mut Vec<Effect>) {
        let allies: HashSet<MacAddr> = self.links.values().filter_map(|link| link.mac).collect();
        if allies == self.allies {
            return;
        }
        self.allies = allies;
        for &index in self.open.keys() {
            out.push(Effect::Interface { index, command: Command::Allies(self.allies.clone()) });
        }
    }
}
