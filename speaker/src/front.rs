//! Which interface answers for which address: those that are open, where each address is to be announced, and which
//! addresses this node holds. Three sources at different times come together here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use announce::Interfaces;

use crate::core::Command;

/// What the interfaces of this node answer for.
#[derive(Debug, Default)]
pub struct Front {
    open: BTreeMap<u32, Port>,
    /// Where each address is announced while it is held.
    wanted: HashMap<IpAddr, Interfaces>,
    held: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Port {
    name: String,
    answers: BTreeSet<IpAddr>,
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

    /// The address is announced on these interfaces while it is held; on none where there are none.
    pub fn want(&mut self, address: IpAddr, interfaces: Option<Interfaces>, out: &mut Vec<Order>) {
        match interfaces {
            Some(interfaces) => self.wanted.insert(address, interfaces),
            None => self.wanted.remove(&address),
        };
        self.decide(address, out);
    }

    /// This node holds the address, or not any more.
    pub fn hold(&mut self, address: IpAddr, held: bool, out: &mut Vec<Order>) {
        if held {
            self.held.insert(address);
        } else {
            self.held.remove(&address);
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
        let only = |name: &str| Some(Interfaces::Only(BTreeSet::from([name.to_owned()])));
        let (take, release) = (Command::Take(ip), Command::Release(ip));
        let mut front = Front::default();
        let mut out = Vec::new();
        let told = |out: &mut Vec<Order>| std::mem::take(out);
        front.open(2, "eth0".into(), &mut out);
        front.hold(ip, true, &mut out);
        assert_eq!(told(&mut out), [], "held, and wanted nowhere");
        front.want(ip, Some(Interfaces::All), &mut out);
        assert_eq!(told(&mut out), [(2, take.clone())]);
        front.open(3, "eth1".into(), &mut out);
        assert_eq!(told(&mut out), [(3, take.clone())]);
        front.want(ip, only("eth1"), &mut out);
        assert_eq!(told(&mut out), [(2, release.clone())]);
        front.hold(ip, false, &mut out);
        assert_eq!(told(&mut out), [(3, release)]);
        front.close(3);
        front.hold(ip, true, &mut out);
        assert_eq!(told(&mut out), [], "wanted on a closed interface only");
        front.open(3, "eth1".into(), &mut out);
        assert_eq!(told(&mut out), [(3, take)]);
    }
}
