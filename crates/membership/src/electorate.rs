//! Who votes: the electorates in force and proposed, and what a majority is.

use crate::id::{NodeId, weight};

/// The most voters of one electorate. A larger cluster has a council of this many; its other speakers hold
/// addresses and watch each other, but do not vote on who holds what.
pub const MAX_VOTERS: usize = 7;

/// The most electorates that a packet carries: the one in force and those on the way.
pub const MAX_EPOCHS: usize = 6;

/// The voters of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Electorate {
    /// The revision of the API at which the speakers were these: the epoch. One revision, one electorate.
    pub revision: u64,
    /// How many speakers the cluster has.
    pub speakers: u16,
    /// Who votes, in order of their identifiers.
    pub voters: Vec<NodeId>,
}

impl Electorate {
    /// The electorate of a cluster with these speakers: all of them, or a council of seven that every node picks
    /// alike and that one speaker's coming or going changes by at most one.
    pub fn of(revision: u64, speakers: &[NodeId]) -> Self {
        let mut voters = speakers.to_vec();
        voters.sort_unstable_by_key(|&node| (weight(NodeId(0), node), node));
        voters.dedup();
        let count = voters.len();
        voters.truncate(MAX_VOTERS);
        voters.sort_unstable();
        Self { revision, speakers: u16::try_from(count).unwrap_or(u16::MAX), voters }
    }

    /// Whether those for whom `agrees` holds are a majority.
    pub fn majority(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        2 * self.voters.iter().filter(|&&node| agrees(node)).count() > self.voters.len()
    }
}

/// The electorates that a node goes by, oldest first: the first is in force, the others are proposed. Whatever needs
/// a majority needs one of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chain {
    epochs: Vec<Electorate>,
}

impl Chain {
    /// A chain as it was remembered or received.
    pub fn new(mut epochs: Vec<Electorate>) -> Self {
        epochs.sort_unstable();
        epochs.dedup_by_key(|epoch| epoch.revision);
        epochs.truncate(MAX_EPOCHS);
        Self { epochs }
    }

    /// All electorates, the one in force first.
    pub fn epochs(&self) -> &[Electorate] {
        &self.epochs
    }

    /// Whether no electorate is known to be in force.
    pub fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The revision in force; 0 without any.
    pub fn floor(&self) -> u64 {
        self.epochs.first().map_or(0, |epoch| epoch.revision)
    }

    /// The latest revision known; 0 without any.
    pub fn newest(&self) -> u64 {
        self.epochs.last().map_or(0, |epoch| epoch.revision)
    }

    /// Whether every electorate has a majority for which `agrees` holds. Without an electorate nothing is agreed.
    pub fn agreed(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        !self.epochs.is_empty() && self.epochs.iter().all(|epoch| epoch.majority(&agrees))
    }

    /// Whether the node votes in any of them.
    pub fn votes(&self, node: NodeId) -> bool {
        self.epochs.iter().any(|epoch| epoch.voters.contains(&node))
    }

    /// The most speakers that any of them counts.
    pub fn speakers(&self) -> usize {
        self.epochs.iter().map(|epoch| usize::from(epoch.speakers)).max().unwrap_or(0)
    }

    /// Takes over what another node knows; whether that was news. What is in force there is in force here: the
    /// older ones have no majority left that does not know it.
    pub fn learn(&mut self, other: &[Electorate]) -> bool {
        let Some(theirs) = other.first().map(|epoch| epoch.revision) else { return false };
        let floor = self.floor().max(theirs);
        let unknown = |e: &&Electorate| e.revision >= floor && !self.knows(e.revision);
        let news: Vec<Electorate> = other.iter().filter(unknown).cloned().collect();
        let stale = self.floor() < floor;
        let count = self.epochs.iter().filter(|epoch| epoch.revision >= floor).count() + news.len();
        if (news.is_empty() && !stale) || count > MAX_EPOCHS {
            return false;
        }
        self.epochs.retain(|epoch| epoch.revision >= floor);
        self.epochs.extend(news);
        self.epochs.sort_unstable();
        true
    }

    /// Whether a node that goes by `other` knows of no electorate that is unknown here: only then does its word
    /// count, because only then every majority that it may insist on is asked for.
    pub fn covers(&self, other: &[Electorate]) -> bool {
        other.iter().all(|epoch| epoch.revision < self.floor() || self.knows(epoch.revision))
    }

    fn knows(&self, revision: u64) -> bool {
        self.epochs.iter().any(|epoch| epoch.revision == revision)
    }

    /// Proposes an electorate, where none is on the way and it is newer; whether it was taken.
    pub fn propose(&mut self, next: Electorate) -> bool {
        let fits = self.epochs.len() == 1 && next.revision > self.newest() && !next.voters.is_empty();
        if fits {
            self.epochs.push(next);
        }
        fits
    }

    /// Puts the latest into force.
    pub fn activate(&mut self) {
        if let Some(last) = self.epochs.pop() {
            self.epochs = vec![last];
        }
    }
}
