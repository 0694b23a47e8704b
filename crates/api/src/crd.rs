//! The CustomResourceDefinitions, made from the types.

use k8s_openapi::ByteString;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, ServiceReference, WebhookClientConfig,
    WebhookConversion,
};
use kube_core::Resource;
use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::names::GROUP;
use crate::structural::structural;
use crate::{
    BFDProfile, BFDProfileSpec, BFDProfileStatus, BGPAdvertisement, BGPAdvertisementSpec,
    BGPAdvertisementStatus, BGPPeer, BGPPeerSpec, BGPPeerStatus, Community, CommunitySpec, CommunityStatus,
    ConfigurationState, ConfigurationStateStatus, IPAddressPool, IPAddressPoolSpec, IPAddressPoolStatus,
    L2Advertisement, L2AdvertisementSpec, L2AdvertisementStatus, MetalLB, MetalLBSpec, MetalLBStatus,
    ServiceBGPStatus, ServiceBGPStatusSpec, ServiceBGPStatusStatus, ServiceL2Status, ServiceL2StatusSpec,
    ServiceL2StatusStatus, v1beta1,
};

/// A column of `kubectl get`: title, type, JSON path, priority (0 shows always).
type Column = (&'static str, &'static str, &'static str, u8);

const PEER_COLUMNS: [Column; 4] = [
    ("Address", "string", ".spec.peerAddress", 0),
    ("ASN", "string", ".spec.peerASN", 0),
    ("BFD Profile", "string", ".spec.bfdProfile", 0),
    ("Multi Hops", "string", ".spec.ebgpMultiHop", 0),
];

/// Every CustomResourceDefinition of the group, sorted by name.
///
/// That of the BGPPeers has two versions and says nothing of conversion, so it can be installed before a webhook
/// answers: see [`ConversionWebhook`].
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        bfd_profiles(),
        bgp_advertisements(),
        bgp_peers(),
        communities(),
        configuration_states(),
        ip_address_pools(),
        l2_advertisements(),
        metallbs(),
        service_bgp_statuses(),
        service_l2_statuses(),
    ]
}

fn bfd_profiles() -> CustomResourceDefinition {
    define::<BFDProfile, _>([Version::of::<BFDProfile, BFDProfileStatus>(
        "BFDProfile has the settings of the BFD sessions (RFC 5880) that guard the BGP sessions \
                 of the peers that name it.",
    )
    .spec::<BFDProfileSpec>()
    .columns(&[
        ("Passive Mode", "boolean", ".spec.passiveMode", 0),
        ("Transmit Interval", "integer", ".spec.transmitInterval", 0),
        ("Receive Interval", "integer", ".spec.receiveInterval", 0),
        ("Multiplier", "integer", ".spec.detectMultiplier", 0),
    ])])
}

fn bgp_advertisements() -> CustomResourceDefinition {
    define::<BGPAdvertisement, _>([Version::of::<BGPAdvertisement, BGPAdvertisementStatus>(
        "BGPAdvertisement announces the addresses of pools to BGP peers.",
    )
    .spec::<BGPAdvertisementSpec>()
    .columns(&[
        ("IPAddressPools", "string", ".spec.ipAddressPools", 0),
        ("IPAddressPool Selectors", "string", ".spec.ipAddressPoolSelectors", 0),
        ("Peers", "string", ".spec.peers", 0),
        ("Node Selectors", "string", ".spec.nodeSelectors", 10),
    ])])
}

fn bgp_peers() -> CustomResourceDefinition {
    define::<BGPPeer, _>([
        Version::of::<v1beta1::BGPPeer, BGPPeerStatus>(
            "BGPPeer is a router that the speakers keep BGP sessions with. This version is \
                 deprecated: use v1beta2.",
        )
        .spec::<v1beta1::BGPPeerSpec>()
        .columns(&PEER_COLUMNS)
        .deprecated("v1beta1 is deprecated, please use v1beta2"),
        Version::of::<BGPPeer, BGPPeerStatus>(
            "BGPPeer is a router that the speakers keep BGP sessions with.",
        )
        .spec::<BGPPeerSpec>()
        .columns(&PEER_COLUMNS),
    ])
}

fn communities() -> CustomResourceDefinition {
    define::<Community, _>([Version::of::<Community, CommunityStatus>(
        "Community gives names to BGP communities, for use in BGPAdvertisements.",
    )
    .spec::<CommunitySpec>()])
}

fn configuration_states() -> CustomResourceDefinition {
    define::<ConfigurationState, _>([Version::of::<ConfigurationState, ConfigurationStateStatus>(
        "ConfigurationState shows whether a program, the controller or the speaker of a node, \
                 could use the configuration that it found, and if not, why. Written by that program.",
    )
    .columns(&[
        ("Result", "string", ".status.result", 0),
        ("ErrorSummary", "string", ".status.errorSummary", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ])])
}

fn ip_address_pools() -> CustomResourceDefinition {
    define::<IPAddressPool, _>([Version::of::<IPAddressPool, IPAddressPoolStatus>(
        "IPAddressPool represents a pool of IP addresses that can be allocated to LoadBalancer \
             services.",
    )
    .spec::<IPAddressPoolSpec>()
    .spec_required()
    .columns(&[
        ("Auto Assign", "boolean", ".spec.autoAssign", 0),
        ("Avoid Buggy IPs", "boolean", ".spec.avoidBuggyIPs", 0),
        ("Addresses", "string", ".spec.addresses", 0),
    ])])
}

fn l2_advertisements() -> CustomResourceDefinition {
    define::<L2Advertisement, _>([Version::of::<L2Advertisement, L2AdvertisementStatus>(
        "L2Advertisement announces the addresses of pools on the local network, by ARP and NDP.",
    )
    .spec::<L2AdvertisementSpec>()
    .columns(&[
        ("IPAddressPools", "string", ".spec.ipAddressPools", 0),
        ("IPAddressPool Selectors", "string", ".spec.ipAddressPoolSelectors", 0),
        ("Interfaces", "string", ".spec.interfaces", 0),
        ("Node Selectors", "string", ".spec.nodeSelectors", 10),
    ])])
}

fn metallbs() -> CustomResourceDefinition {
    define::<MetalLB, _>([Version::of::<MetalLB, MetalLBStatus>(
        "MetalLB runs the load balancer: a controller that gives services their addresses and, on \
                 every node, a speaker that announces them. There is one, named metallb, in the \
                 operator's namespace.",
    )
    .spec::<MetalLBSpec>()
    .columns(&[
        ("Available", "string", ".status.conditions[?(@.type=='Available')].status", 0),
        ("Degraded", "string", ".status.conditions[?(@.type=='Degraded')].status", 0),
        ("Progressing", "string", ".status.conditions[?(@.type=='Progressing')].status", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ])])
}

fn service_bgp_statuses() -> CustomResourceDefinition {
    define::<ServiceBGPStatus, _>([Version::of::<ServiceBGPStatus, ServiceBGPStatusStatus>(
        "ServiceBGPStatus shows to which peers a node announces a service by BGP. Written by the \
                 speakers.",
    )
    .spec::<ServiceBGPStatusSpec>()
    .columns(&[
        ("Node", "string", ".status.node", 0),
        ("Service Name", "string", ".status.serviceName", 0),
        ("Service Namespace", "string", ".status.serviceNamespace", 0),
    ])])
}

fn service_l2_statuses() -> CustomResourceDefinition {
    define::<ServiceL2Status, _>([Version::of::<ServiceL2Status, ServiceL2StatusStatus>(
        "ServiceL2Status shows which node announces a service by ARP and NDP. Written by the \
             speakers.",
    )
    .spec::<ServiceL2StatusSpec>()
    .columns(&[
        ("Allocated Node", "string", ".status.node", 0),
        ("Service Name", "string", ".status.serviceName", 0),
        ("Service Namespace", "string", ".status.serviceNamespace", 0),
    ])])
}

/// Where the API server has objects converted from one version to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionWebhook {
    /// The namespace of the Service.
    pub namespace: String,
    /// The name of the Service.
    pub service: String,
    /// The path of the URL, such as `/convert`.
    pub path: String,
    /// The port of the Service; 443 where there is none.
    pub port: Option<i32>,
    /// The certificates, in PEM, that the webhook's own must lead to. Without them the API server trusts those
    /// that its machine trusts, so a webhook with a certificate of its own does not work until they are set.
    pub ca_bundle: Option<Vec<u8>>,
}

impl ConversionWebhook {
    /// Sets the conversion of a definition. The webhook is sent ConversionReviews v1, or v1beta1 where the API
    /// server knows no other.
    pub fn set(&self, definition: &mut CustomResourceDefinition) {
        definition.spec.conversion = Some(CustomResourceConversion {
            strategy: "Webhook".to_owned(),
            webhook: Some(WebhookConversion {
                client_config: Some(WebhookClientConfig {
                    ca_bundle: self.ca_bundle.clone().map(ByteString),
                    service: Some(ServiceReference {
                        name: self.service.clone(),
                        namespace: self.namespace.clone(),
                        path: Some(self.path.clone()),
                        port: self.port,
                    }),
                    url: None,
                }),
                conversion_review_versions: vec!["v1".to_owned(), "v1beta1".to_owned()],
            }),
        });
    }
}

/// A version of a kind on its way into the definition.
struct Version {
    name: String,
    description: &'static str,
    spec: Option<Value>,
    spec_required: bool,
    status: Value,
    columns: Vec<Value>,
    deprecation: Option<&'static str>,
}

impl Version {
    /// The version of the type `K`, without a spec so far.
    fn of<K: Resource<DynamicType = ()>, Status: JsonSchema>(description: &'static str) -> Self {
        Self {
            name: K::version(&()).into_owned(),
            description,
            spec: None,
            spec_required: false,
            status: structural::<Status>(),
            columns: Vec::new(),
            deprecation: None,
        }
    }

    fn spec<Spec: JsonSchema>(self) -> Self {
        Self { spec: Some(structural::<Spec>()), ..self }
    }

    fn spec_required(self) -> Self {
        Self { spec_required: true, ..self }
    }

    fn columns(self, columns: &[Column]) -> Self {
        Self { columns: columns.iter().map(column).collect(), ..self }
    }

    fn deprecated(self, warning: &'static str) -> Self {
        Self { deprecation: Some(warning), ..self }
    }

    fn into_value(self, storage: bool) -> Value {
        let mut schema = json!({
            "description": self.description,
            "type": "object",
            "properties": {
                "apiVersion": {
                    "description": "The version of the schema that this object is written in.",
                    "type": "string",
                },
                "kind": {"description": "The kind of this object.", "type": "string"},
                "metadata": {"type": "object"},
            },
        });
        if let Some(spec) = self.spec {
            schema["properties"]["spec"] = spec;
        }
        schema["properties"]["status"] = self.status;
        if self.spec_required {
            schema["required"] = json!(["spec"]);
        }
        let mut version = json!({
            "name": self.name,
            "served": true,
            "storage": storage,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        });
        if !self.columns.is_empty() {
            version["additionalPrinterColumns"] = self.columns.into();
        }
        if let Some(warning) = self.deprecation {
            version["deprecated"] = true.into();
            version["deprecationWarning"] = warning.into();
        }
        version
    }
}

/// The definition of kind `K` with its versions, of which that of `K` itself is stored.
fn define<K: Resource<DynamicType = ()>, const N: usize>(versions: [Version; N]) -> CustomResourceDefinition {
    let (kind, plural) = (K::kind(&()), K::plural(&()));
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|version| {
            let storage = version.name == K::version(&());
            version.into_value(storage)
        })
        .collect();
    let definition = json!({
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
            },
            "scope": "Namespaced",
            "versions": versions,
        },
    });
    serde_json::from_value(definition).expect("the literal above is a CustomResourceDefinition")
}

fn column(&(name, kind, path, priority): &Column) -> Value {
    let mut column = json!({"name": name, "type": kind, "jsonPath": path});
    if priority > 0 {
        column["priority"] = priority.into();
    }
    column
}
