//! Where addresses are in the pools.

use std::net::IpAddr;

/// The place of an address: its pool, its range there, its number in the range. Spots of a pool sort as addresses are
/// tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The place of the pool in the order in which pools are tried.
    pub(crate) pool: usize,
    /// The place of the range in the pool's list.
    pub(crate) range: usize,
    /// The number of the address in the range: see [`Slots`](crate::slots::Slots).
    pub(crate) number: u128,
}

/// The addresses of one Service and where they are: one, or one of each family, from one pool.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Places {
    One([(IpAddr, Spot); 1]),
    Two([(IpAddr, Spot); 2]),
}

impl Places {
    pub(crate) fn as_slice(&self) -> &[(IpAddr, Spot)] {
        match self {
            Self::One(one) => one,
            Self::Two(two) => two,
        }
    }

    /// The number of the pool that they are from.
    pub(crate) fn pool(&self) -> usize {
        match self {
            Self::One([(_, spot)]) | Self::Two([(_, spot), _]) => spot.pool,
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.as_slice().iter().map(|(address, _)| *address)
    }
}
