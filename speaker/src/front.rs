//! Which interface answers for which address: those that are open, where each address is to be announced, and which
//! addresses this node holds. Three sources at different times come together here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use announce::{Interfaces, Place};

use crate::core::Command;

/// What the interfaces of this node answer for.
#[derive(Debug, Default)]
pub struct Front {
    open: BTreeMap<u32, Port>,
    /// Where each address is announced while it is held.
    wanted: HashMap<IpAddr, Interfaces>,
    held: BTreeSet<IpAddr>,
    /// What is held and to be another node's: it is announced where it was until it is handed over.
    yielding: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Port {
    name: String,
    answers: BTreeSet<IpAddr>,
}

/// Who may have an address, as far as this node's interfaces are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// This node, and it is announced on these interfaces while it is held.
    Here(Interfaces),
    /// Other nodes only.
    Others,
    /// Nobody.
    Nowhere,
}

impl From<Option<&Place>> for Where {
    fn from(place: Option<&Place>) -> Self {
        match place.map(|place| &place.interfaces) {
            Some(Some(interfaces)) => Self::Here(interfaces.clone()),
            Some(None) => Self::Others,
            None => Self::Nowhere,
        }
    }
}

/// What an interface, by its number, is to be told.
pub type Order = (u32, Command);

impl Front {
    /// An interface is there.
    pub fn open(&mut self, index: u32, name: String, out: &mut Vec<Order>) {
        self.open.insert(index, Port { name, answers: BTreeSet::new() });
        for address in self.held.clone() {
            self.decide(address, out);
        }
    }

    /// It is gone, and answers for nothing any more.
    pub fn close(&mut self, index: u32) {
        self.open.remove(&index);
    }

    /// Who may have the address. Where only others may this node answers on until it has handed it over.
    pub fn want(&mut self, address: IpAddr, place: Where, out: &mut Vec<Order>) {
        self.yielding.remove(&address);
        match place {
            Where::Here(interfaces) => drop(self.wanted.insert(address, interfaces)),
            Where::Others if self.held.contains(&address) => drop(self.yielding.insert(address)),
            Where::Others | Where::Nowhere => drop(self.wanted.remove(&address)),
        }
        self.decide(address, out);
    }

    /// This node holds the address, or not any more.
    pub fn hold(&mut self, address: IpAddr, held: bool, out: &mut Vec<Order>) {
        if held {
            self.held.insert(address);
        } else {
            self.held.remove(&address);
            if self.yielding.remove(&address) {
                self.wanted.remove(&address);
            }
        }
        self.decide(address, out);
    }

    /// The interfaces on which the address would be announced.
    pub fn places(&self, address: IpAddr) -> impl Iterator<Item = u32> {
        let wanted = self.wanted.get(&address);
        let here = move |(_, port): &(&u32, &Port)| wanted.is_some_and(|all| all.contains(&port.name));
        self.open.iter().filter(here).map(|(&index, _)| index)
    }

    fn decide(&mut self, address: IpAddr, out: &mut Vec<Order>) {
        let wanted = self.wanted.get(&address).filter(|_| self.held.contains(&address));
        for (&index, port) in &mut self.open {
            if wanted.is_some_and(|interfaces| interfaces.contains(&port.name)) {
                if port.answers.insert(address) {
                    out.push((index, Command::Take(address)));
                }
            } else if port.answers.remove(&address) {
                out.push((index, Command::Release(address)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_answers_for_what_is_both_wanted_there_and_held() {
        let ip: IpAddr = "192.0.2.50".parse().expect("an address");
        let only = |name: &str| Where::Here(Interfaces::Only(BTreeSet::from([name.to_owned()])));
        let (take, release) = (Command::Take(ip), Command::Release(ip));
        let mut front = Front::default();
        let mut out = Vec::new();
        let told = |out: &mut Vec<Order>| std::mem::take(out);
        front.open(2, "eth0".into(), &mut out);
        front.hold(ip, true, &mut out);
        assert_eq!(told(&mut out), [], "held, and wanted nowhere");
        front.want(ip, Where::Here(Interfaces::All), &mut out);
        assert_eq!(told(&mut out), [(2, take.clone())]);
        front.open(3, "eth1".into(), &mut out);
        assert_eq!(told(&mut out), [(3, take.clone())]);
        front.want(ip, only("eth1"), &mut out);
        assert_eq!(told(&mut out), [(2, release.clone())]);
        front.hold(ip, false, &mut out);
        assert_eq!(told(&mut out), [(3, release.clone())]);
        front.close(3);
        front.hold(ip, true, &mut out);
        assert_eq!(told(&mut out), [], "wanted on a closed interface only");
        front.open(3, "eth1".into(), &mut out);
        assert_eq!(told(&mut out), [(3, take.clone())]);
        front.want(ip, Where::Others, &mut out);
        assert_eq!(told(&mut out), [], "another node is to have it, and has not asked yet");
        front.hold(ip, false, &mut out);
        assert_eq!(told(&mut out), [(3, release.clone())]);
        front.hold(ip, true, &mut out);
        assert_eq!(told(&mut out), [], "where it was announced is over");
        front.want(ip, only("eth1"), &mut out);
        assert_eq!(told(&mut out), [(3, take)]);
        front.want(ip, Where::Others, &mut out);
        front.want(ip, Where::Nowhere, &mut out);
        assert_eq!(told(&mut out), [(3, release)], "nobody is to have it");
    }
}
