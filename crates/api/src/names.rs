//! Names that users, dashboards and other programs rely on: groups, annotations, labels, components.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The API group of every resource here.
pub const GROUP: &str = "metallb.io";

/// The name that the one MetalLB resource must have.
pub const METALLB_NAME: &str = "metallb";

/// The component that events of the controller name as their source.
pub const CONTROLLER_COMPONENT: &str = "metallb-controller";
/// The component that events of the speakers name as their source.
pub const SPEAKER_COMPONENT: &str = "metallb-speaker";

/// The prefix of annotations.
pub const ANNOTATION_PREFIX: &str = "metallb.io/";
/// The older prefix, deprecated and still honoured; the newer one wins where both are present.
pub const DEPRECATED_ANNOTATION_PREFIX: &str = "metallb.universe.tf/";

/// An annotation on a Service that users write, under its two prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The key to use.
    pub key: &'static str,
    /// The deprecated key.
    pub deprecated: &'static str,
}

impl Annotation {
    /// The value among an object's annotations, and the key under which it was found.
    pub fn find<'a, M: AnnotationMap + ?Sized>(&self, annotations: &'a M) -> Option<(&'static str, &'a str)> {
        [self.key, self.deprecated]
            .into_iter()
            .find_map(|key| annotations.value(key).map(|value| (key, value)))
    }
}

/// A map of annotations; so that callers may hold them as they like.
pub trait AnnotationMap {
    /// The value of a key.
    fn value(&self, key: &str) -> Option<&str>;
}

impl AnnotationMap for std::collections::BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// Names the pool that the Service's addresses shall come from.
pub const ADDRESS_POOL: Annotation =
    Annotation { key: "metallb.io/address-pool", deprecated: "metallb.universe.tf/address-pool" };
/// Names the addresses that the Service asks for, separated by commas.
pub const LOAD_BALANCER_IPS: Annotation =
    Annotation { key: "metallb.io/loadBalancerIPs", deprecated: "metallb.universe.tf/loadBalancerIPs" };
/// A key; Services with equal keys may share an address.
pub const ALLOW_SHARED_IP: Annotation =
    Annotation { key: "metallb.io/allow-shared-ip", deprecated: "metallb.universe.tf/allow-shared-ip" };
/// Written by the controller: the pool that the Service's addresses came from.
pub const ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// Written by the conversion of BGPPeers to v1beta1: what that version cannot say, as JSON.
pub const BGP_PEER_STASH: &str = "metallb.io/bgppeer-v1beta2";

/// On status objects: the node they are about, as [`label_value`] writes it.
pub const NODE_LABEL: &str = "metallb.io/node";
/// On status objects: the name of the Service they are about.
pub const SERVICE_NAME_LABEL: &str = "metallb.io/service-name";
/// On status objects: the namespace of the Service they are about.
pub const SERVICE_NAMESPACE_LABEL: &str = "metallb.io/service-namespace";

/// On ConfigurationStates: controller or speaker.
pub const COMPONENT_TYPE_LABEL: &str = "metallb.io/component-type";
/// On ConfigurationStates of speakers: the node that the speaker runs on, as [`label_value`] writes it.
pub const NODE_NAME_LABEL: &str = "metallb.io/node-name";

/// The longest value that a label may have, in bytes.
const LABEL_VALUE: usize = 63;
/// How many bytes of a name's SHA-256 stand for what is cut off.
const DIGEST: usize = 5;

/// The name of a node as the value of a label: a name may have 253 characters, a value 63 (RFC 1123 allows both the same
/// characters). A longer name is cut and ends in a digest of all of it, so that two names never have one value.
/// Selectors use this as well as objects.
pub fn label_value(name: &str) -> Cow<'_, str> {
    if name.len() <= LABEL_VALUE {
        return Cow::Borrowed(name);
    }
    let digest = Sha256::digest(name.as_bytes());
    let digest: String = digest.iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect();
    // The digest ends it with a letter or a digit, as a value must end; what is before may be anything inside one.
    let end = name.floor_char_boundary(LABEL_VALUE - 1 - digest.len());
    Cow::Owned(format!("{}-{digest}", &name[..end]))
}

/// On a Node: present, with whatever value, it keeps load balancer addresses away.
pub const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// The DaemonSet of the speakers.
pub const SPEAKER_DAEMON_SET: &str = "speaker";

/// The ConfigMap in MetalLB's namespace that lists the nodes with a speaker.
pub const SPEAKERS_CONFIG_MAP: &str = "metallb-speakers";

/// An annotation on a Node: with any value but `false`, its speaker hands all addresses over and takes none.
pub const DRAIN_ANNOTATION: &str = "metallb.io/drain";

/// What `announcedInterfacesToExclude` has where nobody says anything, MetalLB's own list: patterns of the names of
/// interfaces of container engines and tunnels, on which no address is announced.
pub const EXCLUDED_INTERFACES: [&str; 14] = [
    "^docker.*",
    "^cbr.*",
    "^dummy.*",
    "^virbr.*",
    "^lxcbr.*",
    "^veth.*",
    "^lo$",
    "^cali.*",
    "^tunl.*",
    "^flannel.*",
    "^kube-ipvs.*",
    "^cni.*",
    "^nodelocaldns.*",
    "^lxc.*",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Whether the API server takes it as the value of a label.
    fn is_value(text: &str) -> bool {
        let ends = |c: char| c.is_ascii_alphanumeric();
        text.len() <= 63
            && text.starts_with(ends)
            && text.ends_with(ends)
            && text.chars().all(|c| ends(c) || "-_.".contains(c))
    }

    #[test]
    fn names_of_nodes_are_values_of_labels_and_none_is_that_of_another() {
        let label = "a".repeat(62);
        let longest = [&label[..], &label, &label, &label].join(".");
        for name in ["iris3", "node-1.example.com", &"b".repeat(63)] {
            assert_eq!(label_value(name), name, "short enough as it is");
        }
        // Long, dots and hyphens where it is cut, and two that differ in what is cut off only.
        let dots = format!("{}.x.{}", "c".repeat(51), "d".repeat(60));
        let hyphens = format!("{}-----{}", "e".repeat(50), "f".repeat(60));
        let twins = [format!("{longest}1"), format!("{longest}2")];
        let names = [&longest, &dots, &hyphens, &twins[0], &twins[1]];
        for name in names {
            let value = label_value(name);
            assert!(is_value(&value) && value.len() == 63, "{name}: {value}");
            assert_eq!(value, label_value(name), "the same each time");
            assert_eq!(names.iter().filter(|other| label_value(other) == value).count(), 1, "{value}");
        }
    }

    #[test]
    fn the_newer_prefix_wins_where_both_are_present() {
        let both = BTreeMap::from([
            (ADDRESS_POOL.key.to_owned(), "new".to_owned()),
            (ADDRESS_POOL.deprecated.to_owned(), "old".to_owned()),
        ]);
        assert_eq!(ADDRESS_POOL.find(&both), Some((ADDRESS_POOL.key, "new")));
        let old = BTreeMap::from([(ADDRESS_POOL.deprecated.to_owned(), "old".to_owned())]);
        assert_eq!(ADDRESS_POOL.find(&old), Some((ADDRESS_POOL.deprecated, "old")));
        assert_eq!(ADDRESS_POOL.find(&BTreeMap::new()), None);
    }
}
