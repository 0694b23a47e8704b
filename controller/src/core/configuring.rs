//! The configuration: taken into force, reported, counted.

use api::IPAddressPoolStatus;
use config::{Config, Kind, Problem, Resources};
use ipam::Usage;
use kube_ext::object_reference;

use super::Core;
use crate::action::{Action, Measure, Note, Standing};
use crate::holder::Holder;

impl Core {
    /// Makes a configuration of the objects as they are now. Where the pools differ, all Services are looked at again.
    pub(super) fn reconfigure(&mut self, actions: &mut Vec<Action>) {
        let resources = Resources {
            pools: self.pools.values().collect(),
            l2_advertisements: self.l2_advertisements.values().collect(),
            communities: self.communities.values().collect(),
            // The rest is the speakers' business.
            ..Resources::default()
        };
        let config = Config::build(&resources, Some(&self.config));
        let same_pools =
            config.pools == self.config.pools && config.pools_left_out == self.config.pools_left_out;
        self.config = config;
        let news = self.config.problems.iter().filter(|problem| !self.told.contains(*problem));
        actions.extend(news.filter_map(|problem| self.problem_event(problem)));
        self.told = self.config.problems.iter().cloned().collect();
        let standing = standing(&self.config);
        if self.standing.as_ref() != Some(&standing) {
            self.standing = Some(standing.clone());
            actions.push(Action::Stand(standing));
        }
        if same_pools {
            return;
        }
        self.touched.extend(self.services.keys().cloned());
        self.configured |= !self.config.pools.is_empty();
        for (holder, lost) in self.allocator.set_pools(self.config.pools.values().cloned()) {
            if let Holder::Service(key) = holder
                && let Some(entry) = self.services.get_mut(&key)
            {
                entry.lost = Some(lost);
            }
        }
        self.counted.extend(self.config.pools.keys().chain(self.measured.keys()).cloned());
    }

    /// The event about a problem, on the object at fault.
    pub(super) fn problem_event(&self, problem: &Problem) -> Option<Action> {
        let name = &problem.object.name;
        let about = match problem.object.kind {
            Kind::IPAddressPool => object_reference(self.pools.get(name)?),
            Kind::L2Advertisement => object_reference(self.l2_advertisements.get(name)?),
            Kind::Community => object_reference(self.communities.get(name)?),
            // None of these are read here.
            Kind::BFDProfile | Kind::BGPPeer | Kind::BGPAdvertisement => return None,
        };
        Some(Action::Event { about, note: Note::warning("InvalidConfiguration", problem.message()) })
    }

    /// Has the counters of pools written that are not what the pools' statuses say.
    pub(super) fn count(&mut self, actions: &mut Vec<Action>) {
        for name in std::mem::take(&mut self.counted) {
            let usage = self.allocator.usage(&name);
            self.measure(&name, usage, actions);
            // What is being written is followed by another count.
            let Some(usage) = usage.filter(|_| !self.writing_pools.contains(&name)) else { continue };
            let status = counters(usage);
            if self.counters.get(&name) != Some(&status) {
                self.counters.insert(name.clone(), status.clone());
                self.writing_pools.insert(name.clone());
                actions.push(Action::WritePool { name, status });
            }
        }
    }

    /// Has what is in a pool shown where it is not what was shown last.
    fn measure(&mut self, name: &str, usage: Option<Usage>, actions: &mut Vec<Action>) {
        let measure = usage.map(|usage| Measure { usage, services: self.served.of(name) });
        let before = match measure {
            Some(measure) => self.measured.insert(name.to_owned(), measure),
            None => self.measured.remove(name),
        };
        if before != measure {
            actions.push(Action::Measure { name: name.to_owned(), measure });
        }
    }
}

/// Whether a configuration is valid, in the words that users of ConfigurationStates look for.
fn standing(config: &Config) -> Standing {
    config.error_summary().map_or(Standing::Valid, Standing::Invalid)
}

/// The counters of a pool: what is available is at most what fits into a number beside what is in use.
fn counters(usage: Usage) -> IPAddressPoolStatus {
    let number = |count: u128| i64::try_from(count).unwrap_or(i64::MAX);
    let assigned_ipv4 = number(usage.used_v4.into());
    let assigned_ipv6 = number(usage.used_v6.into());
    IPAddressPoolStatus {
        assigned_ipv4,
        assigned_ipv6,
        available_ipv4: number(usage.total_v4).saturating_sub(assigned_ipv4),
        available_ipv6: number(usage.total_v6).saturating_sub(assigned_ipv6),
    }
}
