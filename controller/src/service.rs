//! A Service, reduced to what allocation looks at.

use std::collections::BTreeSet;
use std::net::IpAddr;

use api::names;
use ipam::{Families, Labels, Port, Protocol, QuotedList, Sharing};
use k8s_openapi::api::core::v1::{self as core, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_ext::ObjectKey;
use net::Family;

/// On a Service that asks for a pool which did not exist when its addresses were chosen: the name of that pool. Written
/// by the controller. As long as it is there the Service stays with its addresses also when a pool of that name
/// appears; who removes it moves the Service to the pool.
pub const MISSING_POOL: &str = "metallb.io/address-pool-missing";

/// The fields of a Service that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// When it was created, in seconds since 1970. Older Services win where two claim one address.
    pub created: i64,
    /// Whether it is of type LoadBalancer.
    pub is_load_balancer: bool,
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses inside the cluster, as they stand in the spec.
    pub cluster_ips: Vec<String>,
    /// Whether it wants addresses of both families.
    pub family_policy: FamilyPolicy,
    /// With whom it would share an address.
    pub sharing: Sharing,
    /// Its ports.
    pub ports: BTreeSet<Port>,
    /// The pool that it asks for.
    pub asked_pool: Option<String>,
    /// The addresses that it asks for, none for any, or what is wrong with them.
    pub asked_addresses: Result<Vec<IpAddr>, String>,
    /// The deprecated annotations that it has.
    pub deprecated: Vec<&'static str>,
    /// What its status says.
    pub status: Status,
}

/// What the controller has written to a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `status.loadBalancer.ingress[].ip`, as it stands there; `None` for an entry without one.
    pub ingress: Vec<Option<String>>,
    /// The annotation that says where the addresses are from.
    pub pool: Option<String>,
    /// The annotation [`MISSING_POOL`].
    pub missing_pool: Option<String>,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyPolicy {
    /// One family.
    #[default]
    Single,
    /// Both where possible.
    Prefer,
    /// Both or none.
    Require,
}

/// The addresses that a status claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing.
    None,
    /// One address, or one of each family.
    Addresses(Vec<IpAddr>),
    /// Something else, and what is wrong with it.
    Malformed(String),
}

/// Why the families of a Service are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    /// None are given, or the Service is headless.
    #[error("the service has no cluster IP: a headless service gets no external address")]
    None,
    /// Not an address, or not one of each family.
    #[error("expected one address, or one of each family")]
    Malformed,
}

impl Service {
    /// The reduced form of an object of the API.
    pub fn reduce(object: core::Service) -> Self {
        let core::Service { metadata, spec, status } = object;
        let spec = spec.unwrap_or_default();
        let annotations = metadata.annotations.clone().unwrap_or_default();
        let find = |annotation: names::Annotation| {
            annotation.find(&annotations).map(|(_, value)| value).filter(|value| !value.is_empty())
        };
        let deprecated = [names::ADDRESS_POOL, names::LOAD_BALANCER_IPS, names::ALLOW_SHARED_IP]
            .into_iter()
            .map(|annotation| annotation.deprecated)
            .filter(|key| annotations.contains_key(*key))
            .collect();
        Self {
            key: ObjectKey::new(
                metadata.namespace.clone().unwrap_or_default(),
                metadata.name.clone().unwrap_or_default(),
            ),
            created: metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            is_load_balancer: spec.type_.as_deref() == Some("LoadBalancer"),
            family_policy: match spec.ip_family_policy.as_deref() {
                Some("PreferDualStack") => FamilyPolicy::Prefer,
                Some("RequireDualStack") => FamilyPolicy::Require,
                _ => FamilyPolicy::Single,
            },
            sharing: Sharing {
                key: find(names::ALLOW_SHARED_IP).map(str::to_owned),
                backend: backend(&spec),
            },
            ports: ports(&spec),
            asked_pool: find(names::ADDRESS_POOL).map(str::to_owned),
            asked_addresses: asked_addresses(
                find(names::LOAD_BALANCER_IPS),
                spec.load_balancer_ip.as_deref(),
            ),
            deprecated,
            status: Status::of(&metadata, status),
            cluster_ips: cluster_ips(&spec),
            class: spec.load_balancer_class,
            labels: metadata.labels.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
        }
    }

    /// The families that the Service needs: those of its addresses inside the cluster, the first being primary.
    pub fn families(&self) -> Result<Families, FamilyError> {
        let mut families = Vec::with_capacity(self.cluster_ips.len());
        for text in self.cluster_ips.iter().filter(|text| *text != "None") {
            families.push(text.parse().map(Family::of).map_err(|_| FamilyError::Malformed)?);
        }
        match families.as_slice() {
            [] => Err(FamilyError::None),
            [family] => Ok(Families::One(*family)),
            [primary, other] if primary != other => {
                let required = self.family_policy == FamilyPolicy::Require;
                Ok(Families::Both { primary: *primary, required })
            }
            _ => Err(FamilyError::Malformed),
        }
    }

    /// Whether this is a later state of the Service than the other. Resource versions of one object compare as numbers.
    pub fn newer_than(&self, other: &Self) -> bool {
        match (self.resource_version.parse::<u128>(), other.resource_version.parse::<u128>()) {
            (Ok(one), Ok(other)) => one > other,
            _ => self.resource_version != other.resource_version,
        }
    }
}

impl Status {
    fn of(metadata: &ObjectMeta, status: Option<ServiceStatus>) -> Self {
        let annotation =
            |key| metadata.annotations.as_ref().and_then(|annotations| annotations.get(key).cloned());
        let balancer = status.and_then(|status| status.load_balancer).unwrap_or_default();
        Self {
            ingress: balancer.ingress.unwrap_or_default().into_iter().map(|entry| entry.ip).collect(),
            pool: annotation(names::ALLOCATED_FROM_POOL),
            missing_pool: annotation(MISSING_POOL),
        }
    }

    /// What the ingress entries claim. Entries without an address, as other controllers make them, claim nothing.
    pub fn claim(&self) -> Claim {
        let texts: Vec<&str> = self.ingress.iter().flatten().map(String::as_str).collect();
        let mut addresses = Vec::with_capacity(texts.len());
        for text in &texts {
            match text.parse::<IpAddr>() {
                Ok(address) => addresses.push(address),
                Err(_) => return Claim::Malformed(format!("{text:?} is no IP address")),
            }
        }
        match addresses.as_slice() {
            [] => Claim::None,
            [_] => Claim::Addresses(addresses),
            [a, b] if Family::of(*a) != Family::of(*b) => {
                addresses.sort_unstable();
                Claim::Addresses(addresses)
            }
            [_, _] => Claim::Malformed("same address family for both IPs".to_owned()),
            _ => {
                Claim::Malformed(format!("invalid ips length {} {}", addresses.len(), QuotedList(&addresses)))
            }
        }
    }

    /// Whether the ingress entries are exactly these addresses, in whatever order.
    pub fn shows(&self, addresses: &[IpAddr]) -> bool {
        let mut shown = BTreeSet::new();
        for entry in &self.ingress {
            let address = entry.as_deref().and_then(|text| text.parse::<IpAddr>().ok());
            if !address.is_some_and(|address| shown.insert(address)) {
                return false;
            }
        }
        shown.iter().eq(addresses.iter().collect::<BTreeSet<_>>())
    }
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<String> {
    let several = spec.cluster_ips.clone().unwrap_or_default();
    let all = if several.is_empty() { spec.cluster_ip.clone().into_iter().collect() } else { several };
    all.into_iter().filter(|text| !text.is_empty()).collect()
}

/// What stands behind the Service as far as sharing is concerned: with local endpoints only, the announcing node must
/// have the Pods of both Services, so their selectors must be equal.
fn backend(spec: &ServiceSpec) -> String {
    if spec.external_traffic_policy.as_deref() != Some("Local") {
        return String::new();
    }
    let selector = spec.selector.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    selector.collect::<Vec<_>>().join(",")
}

fn ports(spec: &ServiceSpec) -> BTreeSet<Port> {
    spec.ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                // The API has no other.
                Some(_) => return None,
            };
            Some(Port { protocol, number: u16::try_from(port.port).ok()? })
        })
        .collect()
}

/// The addresses that a Service asks for, by annotation or by its spec.
fn asked_addresses(annotation: Option<&str>, spec: Option<&str>) -> Result<Vec<IpAddr>, String> {
    let spec = spec.filter(|text| !text.is_empty());
    let (source, text, parts): (_, _, Vec<&str>) = match (annotation, spec) {
        (None, None) => return Ok(Vec::new()),
        (Some(_), Some(_)) => {
            return Err(format!(
                "service can not have both {} and svc.Spec.LoadBalancerIP",
                names::LOAD_BALANCER_IPS.key
            ));
        }
        (Some(text), None) => (names::LOAD_BALANCER_IPS.key, text, text.split(',').collect()),
        (None, Some(text)) => ("spec.loadBalancerIP", text, vec![text]),
    };
    let mut addresses = Vec::new();
    for part in parts {
        addresses.push(part.trim().parse().map_err(|_| format!("invalid {source}: {text:?}"))?);
    }
    let expected = "expected one address, or one of each family";
    match addresses.as_slice() {
        [_] => {}
        [a, b] if Family::of(*a) != Family::of(*b) => addresses.sort_unstable(),
        _ => return Err(format!("invalid {source}: {text:?}: {expected}")),
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests;
