//! Time as the cores see it.

use std::ops::Add;
use std::time::Duration;

/// A point in time: how long after the origin of the driver's clock, which never goes backwards.
///
/// Not [`std::time::Instant`], which cannot be made up in a test and stands still while the machine sleeps;
/// a driver uses `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The point at `elapsed` after the origin of the clock.
    pub fn from_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the origin of the clock this is.
    pub fn since_origin(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this, zero where `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}
