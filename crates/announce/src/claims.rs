//! Which addresses this node may hold, for which Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::decision::Interfaces;
use crate::reduce::ServiceKey;

/// Who may hold the addresses of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The addresses, in the order of the Service's status.
    pub addresses: Vec<IpAddr>,
    /// The nodes that may hold them, the best first.
    pub order: Vec<String>,
    /// Where this node announces them while it holds them; `None` where it may not.
    pub here: Option<Interfaces>,
}

/// Who may hold an address, and where this node announces it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The nodes, the best first.
    pub order: Vec<String>,
    /// The interfaces; `None` where this node may not hold it.
    pub interfaces: Option<Interfaces>,
}

/// The claims of all Services. Services may share an address: it has a place until the last lets go.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    services: BTreeMap<ServiceKey, Claim>,
    users: BTreeMap<IpAddr, BTreeSet<ServiceKey>>,
}

impl Claims {
    /// Notes the claim of a Service, or that it has none, and returns the addresses whose place is another now.
    pub fn set(&mut self, service: &ServiceKey, claim: Option<Claim>) -> Vec<IpAddr> {
        let before = self.services.get(service);
        if before == claim.as_ref() {
            return Vec::new();
        }
        let addresses = |claim: Option<&Claim>| claim.map(|c| c.addresses.clone()).unwrap_or_default();
        let affected: BTreeSet<IpAddr> =
            addresses(before).into_iter().chain(addresses(claim.as_ref())).collect();
        let places: Vec<_> = affected.iter().map(|&address| self.place(address)).collect();
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
        if let Some(claim) = claim {
            for &address in &claim.addresses {
                self.users.entry(address).or_default().insert(service.clone());
            }
            self.services.insert(service.clone(), claim);
        }
        let changed =
            affected.into_iter().zip(places).filter(|(address, place)| self.place(*address) != *place);
        changed.map(|(address, _)| address).collect()
    }

    /// The place of an address. Of Services that share it, the first by name gives the order, so that all nodes have
    /// the same; it is announced on the interfaces of all of them. `None` where nobody may hold it.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        let mut claims = self.users.get(&address)?.iter().filter_map(|service| self.services.get(service));
        let first = claims.next()?;
        let mut place = Place { order: first.order.clone(), interfaces: first.here.clone() };
        for more in claims {
            if let (Some(interfaces), Some(more)) = (&mut place.interfaces, &more.here) {
                interfaces.extend(more);
            }
        }
        Some(place)
    }

    /// The Services that use this address.
    pub fn services(&self, address: IpAddr) -> impl Iterator<Item = &ServiceKey> {
        self.users.get(&address).into_iter().flatten()
    }

    /// Whether any node may hold the Service's addresses.
    pub fn has(&self, service: &ServiceKey) -> bool {
        self.services.contains_key(service)
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

    fn claim(addresses: &[IpAddr], order: &[&str], here: Option<Interfaces>) -> Claim {
        let order = order.iter().map(|&node| node.to_owned()).collect();
        Claim { addresses: addresses.to_vec(), order, here }
    }

    #[test]
    fn a_shared_address_has_a_place_until_the_last_service_lets_go() {
        let ip: IpAddr = "192.0.2.50".parse().expect("an address");
        let on = |interfaces: Interfaces| Some(claim(&[ip], &["n1", "n2"], Some(interfaces)));
        let mut claims = Claims::default();
        for (step, service, claimed, changed) in [
            ("claimed", "a", on(only(&["eth0"])), vec![ip]),
            ("the same again", "a", on(only(&["eth0"])), vec![]),
            ("shared on the same interface", "b", on(only(&["eth0"])), vec![]),
            ("shared on one more", "b", on(only(&["eth1"])), vec![ip]),
            ("shared everywhere", "b", on(Interfaces::All), vec![ip]),
            (
                "in another order by the second",
                "b",
                Some(claim(&[ip], &["n2"], Some(Interfaces::All))),
                vec![],
            ),
            ("left by the first, whose order it was", "a", None, vec![ip]),
            ("not by this node", "b", Some(claim(&[ip], &["n2"], None)), vec![ip]),
            ("left by a stranger", "c", None, vec![]),
            ("left by the last", "b", None, vec![ip]),
        ] {
            assert_eq!(claims.set(&key(service), claimed), changed, "{step}");
        }
        assert_eq!((claims.place(ip), claims.services(ip).count()), (None, 0));
    }

    #[test]
    fn a_changed_address_lets_the_old_one_go() {
        let (old, new): (IpAddr, IpAddr) =
            ("192.0.2.50".parse().expect("an address"), "192.0.2.51".parse().expect("an address"));
        let mut claims = Claims::default();
        claims.set(&key("a"), Some(claim(&[old], &["n1"], Some(Interfaces::All))));
        let next = claim(&[new], &["n1"], Some(Interfaces::All));
        assert_eq!(claims.set(&key("a"), Some(next)), [old, new]);
        assert_eq!(claims.place(old), None);
        let place = claims.place(new).expect("claimed");
        assert_eq!((place.order, place.interfaces), (vec!["n1".to_owned()], Some(Interfaces::All)));
        assert_eq!(claims.services(new).collect::<Vec<_>>(), [&key("a")]);
    }
}
