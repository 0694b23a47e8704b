//! Each set of attributes once, under a short name.

use std::collections::HashMap;
use std::sync::Arc;

use super::route::Route;

/// The name of a route in an [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouteId(u32);

/// The routes that are in use, and how often.
#[derive(Clone, Debug, Default)]
pub(super) struct Interner {
    names: HashMap<Arc<Route>, RouteId>,
    routes: HashMap<RouteId, (Arc<Route>, usize)>,
    next: u32,
}

impl Interner {
    /// The name of a route, for one more user of it.
    pub(super) fn acquire(&mut self, route: &Arc<Route>) -> RouteId {
        if let Some(&id) = self.names.get(route) {
            self.retain(id);
            return id;
        }
        // Names are given again after four billion routes; those in use are passed over.
        while self.routes.contains_key(&RouteId(self.next)) {
            self.next = self.next.wrapping_add(1);
        }
        let id = RouteId(self.next);
        self.next = self.next.wrapping_add(1);
        self.names.insert(Arc::clone(route), id);
        self.routes.insert(id, (Arc::clone(route), 1));
        id
    }

    /// There is one more user of a route.
    pub(super) fn retain(&mut self, id: RouteId) {
        if let Some((_, users)) = self.routes.get_mut(&id) {
            *users += 1;
        }
    }

    /// There is one user less; without any, the name is forgotten.
    pub(super) fn release(&mut self, id: RouteId) {
        if let Some((_, users)) = self.routes.get_mut(&id) {
            *users -= 1;
            if *users == 0
                && let Some((route, _)) = self.routes.remove(&id)
            {
                self.names.remove(&route);
            }
        }
    }

    pub(super) fn get(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.routes.get(&id).map(|(route, _)| route)
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }
}
