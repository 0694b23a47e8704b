//! Who has an address.

use std::fmt;
use std::net::IpAddr;

use kube_ext::ObjectKey;

/// Who has an address in the allocator's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Holder {
    /// A Service that has it.
    Service(ObjectKey),
    /// A Service that has it no longer, while its status still says so. Nobody else gets the address until that is
    /// written: a controller that starts at just that moment must not find it in two places.
    Leaving(ObjectKey, IpAddr),
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(key) | Self::Leaving(key, _) => key.fmt(f),
        }
    }
}
