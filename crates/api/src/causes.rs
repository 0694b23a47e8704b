//! Why a node announces a Service: the values of `status.cause` of a ServiceL2Status.

/// No node announced it, as far as was known.
pub const CAUSE_UNHELD: &str = "NoHolder";
/// The speaker of the node that did is not heard any more.
pub const CAUSE_DOWN: &str = "HolderDown";
/// The node that did hands everything over.
pub const CAUSE_DRAINED: &str = "HolderDrained";
/// The node that did may not any more, or is not heard on an interface.
pub const CAUSE_UNFIT: &str = "HolderUnfit";
/// The node that did yielded to this one, which goes before it.
pub const CAUSE_YIELDED: &str = "Preferred";
/// There is no majority of speakers, and nobody on the network answered.
pub const CAUSE_NO_QUORUM: &str = "NoQuorum";
