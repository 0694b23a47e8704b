//! The resources of the API group `metallb.io` as users write and read them.
//!
//! Each kind is a plain struct of metadata, spec and status; [`crds`] gives the CustomResourceDefinitions
//! that `config/crd/` holds. What a field means stands once, in the doc comment here, from where it
//! reaches `kubectl explain`.
#![forbid(unsafe_code)]

mod bfd_profile;
mod bgp_advertisement;
mod bgp_peer;
pub mod causes;
mod community;
mod configuration_state;
mod conversion;
mod crd;
mod ip_address_pool;
mod l2_advertisement;
mod metallb;
pub mod names;
mod pod_schema;
mod resource;
mod rules;
mod schema;
mod service_bgp_status;
mod service_l2_status;
mod structural;
pub mod v1beta1;

pub use bfd_profile::{BFDProfile, BFDProfileSpec, BFDProfileStatus};
pub use bgp_advertisement::{BGPAdvertisement, BGPAdvertisementSpec, BGPAdvertisementStatus};
pub use bgp_peer::{BGPPeer, BGPPeerSpec, BGPPeerStatus, DynamicAsn};
pub use community::{Community, CommunityAlias, CommunitySpec, CommunityStatus};
pub use configuration_state::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus};
pub use conversion::{ConversionError, convert_bgp_peer};
pub use crd::{ConversionWebhook, crds};
pub use ip_address_pool::{IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus, ServiceAllocation};
pub use l2_advertisement::{
    L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus, PreferredNodeSelector,
};
pub use metallb::{
    Bgp, Config, Failover, FailoverProfile, FrrK8sConfig, LogLevel, MetalLB, MetalLBSpec, MetalLBStatus,
    OnQuorumLoss,
};
pub use service_bgp_status::{ServiceBGPStatus, ServiceBGPStatusSpec, ServiceBGPStatusStatus};
pub use service_l2_status::{InterfaceInfo, ServiceL2Status, ServiceL2StatusSpec, ServiceL2StatusStatus};
