//! Which addresses this node holds, for which Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::decision::{Announcement, Interfaces};
use crate::reduce::ServiceKey;

/// The addresses that this node announces. Services may share one: it is held until the last lets go.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    services: BTreeMap<ServiceKey, Announcement>,
    users: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
}

impl Holdings {
    /// Notes what is announced for a Service now, and returns the addresses that are held differently
    /// than before (taken, let go, or on other interfaces).
    pub fn set(&mut self, service: &ServiceKey, announcement: Option<Announcement>) -> Vec<IpAddr> {
        let before = self.services.get(service);
        if before == announcement.as_ref() {
            return Vec::new();
        }
        let addresses = |a: Option<&Announcement>| a.map(|a| a.addresses.clone()).unwrap_or_default();
        let affected: BTreeSet<IpAddr> =
            addresses(before).into_iter().chain(addresses(announcement.as_ref())).collect();
        let held: Vec<_> = affected.iter().map(|&address| self.interfaces(address)).collect();
        if let Some(before) = self.services.remove(service) {
            for address in before.addresses {
                if let Some(users) = self.users.get_mut(&address) {
                    users.remove(service);
                    if users.is_empty() {
                        self.users.remove(&address);
                    }
                }
            }
        }
        if let Some(announcement) = announcement {
            for &address in &announcement.addresses {
                self.users.entry(address).or_default().insert(service.clone());
            }
            self.services.insert(service.clone(), announcement);
        }
        let changed =
            affected.into_iter().zip(held).filter(|(address, held)| self.interfaces(*address) != *held);
        changed.map(|(address, _)| address).collect()
    }

    /// What is announced for a Service.
    pub fn announcement(&self, service: &ServiceKey) -> Option<&Announcement> {
        self.services.get(service)
    }

    /// The interfaces of an address: those of all Services that use it. `None` where it is not held.
    pub fn interfaces(&self, address: IpAddr) -> Option<Interfaces> {
        let mut all =
            self.users.get(&address)?.iter().filter_map(|s| self.services.get(s)).map(|a| &a.interfaces);
        let mut union = all.next()?.clone();
        all.for_each(|more| union.extend(more));
        Some(union)
    }

    /// The addresses held, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.users.keys().copied()
    }

    /// The Services announced with this address.
    pub fn services(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.users.get(&address).into_iter().flatten()
    }

    /// Every Service announced, with what is announced for it.
    pub fn announcements(&self) -> impl Iterator<Item = (&ServiceKey, &Announcement)> {
        self.services.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ServiceKey {
        ServiceKey { namespace: "default".into(), name: name.into() }
    }

    fn only(names: &[&str]) -> Interfaces {
        Interfaces::Only(names.iter().map(|&n| n.to_owned()).collect())
    }

    fn announcement(addresses: &[IpAddr], interfaces: Interfaces) -> Announcement {
        Announcement { addresses: addresses.to_vec(), interfaces }
    }

    #[test]
    fn a_shared_address_is_held_until_the_last_service_lets_go() {
        let ip: IpAddr = "192.0.2.50".parse().expect("an address");
        let mut holdings = Holdings::default();
        for (step, service, announced, changed) in [
            ("taken", "a", Some(announcement(&[ip], only(&["eth0"]))), vec![ip]),
            ("the same again", "a", Some(announcement(&[ip], only(&["eth0"]))), vec![]),
            ("shared on the same interface", "b", Some(announcement(&[ip], only(&["eth0"]))), vec![]),
            ("shared on one more", "b", Some(announcement(&[ip], only(&["eth1"]))), vec![ip]),
            ("shared everywhere", "b", Some(announcement(&[ip], Interfaces::All)), vec![ip]),
            ("left by one, who was everywhere", "b", None, vec![ip]),
            ("left by a stranger", "c", None, vec![]),
            ("left by the last", "a", None, vec![ip]),
        ] {
            assert_eq!(holdings.set(&key(service), announced), changed, "{step}");
        }
        assert_eq!(holdings.addresses().count(), 0);
    }

    #[test]
    fn a_changed_address_lets_the_old_one_go() {
        let (old, new): (IpAddr, IpAddr) =
            ("192.0.2.50".parse().expect("an address"), "192.0.2.51".parse().expect("an address"));
        let mut holdings = Holdings::default();
        holdings.set(&key("a"), Some(announcement(&[old], Interfaces::All)));
        assert_eq!(holdings.set(&key("a"), Some(announcement(&[new], Interfaces::All))), [old, new]);
        assert_eq!(holdings.interfaces(old), None);
        assert_eq!(holdings.interfaces(new), Some(Interfaces::All));
        assert_eq!(holdings.services(new).collect::<Vec<_>>(), [&key("a")]);
    }
}
