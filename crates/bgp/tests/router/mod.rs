//! A router that believes everything: what a peer knows after some messages.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use bgp::packet::{
    Attributes, Context, Families, HEADER_LEN, MessageType, RouteRefresh, Stream, Subtype, Update,
};
use ipnet::IpNet;
use net::Family;

#[derive(Debug)]
pub(crate) struct Router {
    internal: bool,
    /// What was announced and not withdrawn, with attributes but for those of multiprotocol routes.
    pub(crate) routes: BTreeMap<IpNet, Attributes>,
    /// The families of which the first routes ended.
    pub(crate) ended: Vec<Family>,
    /// The families of which all routes were told again, in full.
    pub(crate) refreshed: Vec<Family>,
    /// The families of which all routes are being told again.
    refreshing: BTreeSet<Family>,
    /// How many prefixes were announced, and how many of these were known so already.
    pub(crate) announcements: usize,
    pub(crate) needless: usize,
}

pub(crate) fn context(internal: bool, four_octet_as: bool) -> Context {
    Context { four_octet_as, internal, families: Families::BOTH, extended_next_hop: true }
}

impl Router {
    pub(crate) fn new(internal: bool) -> Self {
        Self {
            internal,
            routes: BTreeMap::new(),
            ended: Vec::new(),
            refreshed: Vec::new(),
            refreshing: BTreeSet::new(),
            announcements: 0,
            needless: 0,
        }
    }

    /// Takes in one whole message, which must be valid and not too long.
    pub(crate) fn receive(&mut self, message: &[u8]) {
        let mut stream = Stream::new();
        stream.push(message);
        let frame = stream.next().expect("valid").expect("whole");
        assert_eq!(frame.body.len() + HEADER_LEN, message.len(), "one message at a time");
        match frame.kind {
            MessageType::Update => self.update(&frame.body),
            MessageType::RouteRefresh => {
                let refresh = RouteRefresh::parse(&frame.body).expect("valid");
                let family = refresh.family.family().expect("known");
                match refresh.subtype {
                    Subtype::Begin => assert!(self.refreshing.insert(family)),
                    Subtype::End => {
                        assert!(self.refreshing.remove(&family));
                        self.refreshed.push(family);
                    }
                    other => panic!("{other:?} is not for a peer that does not announce"),
                }
            }
            other => panic!("{other:?} is no message about routes"),
        }
    }

    /// Takes in the body of an UPDATE.
    pub(crate) fn update(&mut self, body: &[u8]) {
        let received = Update::parse(body, context(self.internal, true)).expect("valid");
        assert_eq!(received.faults, []);
        let mut update = received.update;
        if let Some(family) = update.ends_rib_of() {
            assert!(!self.ended.contains(&family), "the first routes end once");
            self.ended.push(family);
            return;
        }
        let (reach, unreach) = (update.attributes.mp_reach.take(), update.attributes.mp_unreach.take());
        for prefix in update.withdrawn.into_iter().chain(unreach.into_iter().flat_map(|u| u.prefixes)) {
            assert!(self.routes.remove(&prefix).is_some(), "{prefix} is withdrawn but was not announced");
        }
        update.attributes.next_hop = None;
        for prefix in update.announced.into_iter().chain(reach.into_iter().flat_map(|r| r.prefixes)) {
            self.announcements += 1;
            let before = self.routes.insert(prefix, update.attributes.clone());
            self.needless += usize::from(before.as_ref() == Some(&update.attributes));
        }
    }
}
