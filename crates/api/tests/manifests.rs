//! Manifests as users write them are read, and what is written names its kind.

use api::{
    BFDProfile, BGPAdvertisement, BGPPeer, Community, ConfigurationState, IPAddressPool, L2Advertisement,
    MetalLB, ServiceBGPStatus, v1beta1,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

#[test]
fn a_manifest_without_a_spec_is_read_as_one_with_an_empty_spec() {
    let metallb: MetalLB =
        serde_json::from_value(json!({"metadata": {"name": "metallb"}})).expect("a MetalLB");
    assert_eq!(metallb.spec, api::MetalLBSpec::default());
    let adv: L2Advertisement =
        serde_json::from_value(json!({"metadata": {"name": "a"}})).expect("an advertisement");
    assert!(adv.spec.ip_address_pools.is_empty());
}

#[test]
fn what_is_written_names_its_version_and_kind_and_no_empty_field() {
    let mut pool = IPAddressPool::default();
    pool.metadata.name = Some("p".to_owned());
    pool.spec.addresses = vec!["10.0.0.0/24".to_owned()];
    assert_eq!(
        serde_json::to_value(&pool).expect("a pool is JSON"),
        json!({
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "p"},
            "spec": {"addresses": ["10.0.0.0/24"]},
        })
    );
}

#[test]
fn every_field_of_a_metallb_is_kept() {
    let spec = json!({
        "bgpBackend": "native",
        "logLevel": "debug",
        "loadBalancerClass": "metallb.io/class",
        "nodeSelector": {"a": "b"},
        "speakerTolerations": [{"key": "k", "operator": "Exists"}],
        "controllerNodeSelector": {"c": "d"},
        "controllerTolerations": [{"key": "k"}],
        "controllerConfig": {"priorityClassName": "high", "resources": {"limits": {"cpu": "200m"}}},
        "speakerConfig": {"runtimeClassName": "r", "annotations": {"x": "y"}, "affinity": {"nodeAffinity": {}}},
        "frrk8sConfig": {"alwaysBlock": ["10.0.0.0/8"], "namespace": "n", "secretPassthrough": true},
    });
    let metallb: MetalLB =
        serde_json::from_value(json!({"metadata": {"name": "metallb"}, "spec": spec})).expect("a MetalLB");
    assert_eq!(serde_json::to_value(&metallb.spec).expect("a spec is JSON"), spec);
}

/// Reads an object and writes it again.
fn through<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let object: K = serde_json::from_value(object.clone()).expect("an object of the kind");
    serde_json::to_value(&object).expect("a kind is JSON")
}

#[test]
fn every_field_of_every_kind_is_kept() {
    let selectors = json!([{"matchLabels": {"a": "b"}}]);
    let objects = [
        (
            "BGPAdvertisement",
            json!({"spec": {
                "aggregationLength": 24, "aggregationLengthV6": 64, "localPref": 100, "communities": ["65000:1"],
                "ipAddressPools": ["p"], "ipAddressPoolSelectors": selectors, "nodeSelectors": selectors,
                "peers": ["x"], "serviceSelectors": selectors,
            }}),
            through::<BGPAdvertisement> as fn(&Value) -> Value,
        ),
        (
            "BFDProfile",
            json!({"spec": {
                "receiveInterval": 10, "transmitInterval": 60000, "detectMultiplier": 255, "echoInterval": 50,
                "echoMode": false, "passiveMode": true, "minimumTtl": 254,
            }}),
            through::<BFDProfile>,
        ),
        (
            "Community",
            json!({"spec": {"communities": [{"name": "a", "value": "65000:1"}, {"value": "1:2"}]}}),
            through::<Community>,
        ),
        (
            "ServiceBGPStatus",
            json!({"spec": {}, "status": {
                "node": "n", "serviceName": "s", "serviceNamespace": "ns", "peers": ["a", "b"],
            }}),
            through::<ServiceBGPStatus>,
        ),
        (
            "ConfigurationState",
            json!({"status": {
                "result": "Invalid", "errorSummary": "why", "conditions": [{
                    "type": "poolReconcilerValid", "status": "False", "reason": "ConfigurationError", "message": "why",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }],
            }}),
            through::<ConfigurationState>,
        ),
    ];
    for (kind, mut object, through) in objects {
        object["apiVersion"] = json!("metallb.io/v1beta1");
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "x"});
        assert_eq!(through(&object), object);
    }
}

#[test]
fn every_field_of_a_peer_is_kept_in_both_versions() {
    let mut spec = json!({
        "myASN": 4_294_967_295_u32, "peerASN": 2, "peerAddress": "10.0.0.1", "sourceAddress": "10.0.0.2", "peerPort": 179,
        "holdTime": "90s", "keepaliveTime": "30s", "routerID": "10.0.0.3", "password": "p", "bfdProfile": "b",
        "ebgpMultiHop": true,
        "nodeSelectors": [{"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}],
    });
    let old: v1beta1::BGPPeerSpec = serde_json::from_value(spec.clone()).expect("a spec of v1beta1");
    assert_eq!(serde_json::to_value(&old).expect("a spec is JSON"), spec);
    let newer = json!({
        "localASN": 3, "dynamicASN": "external", "interface": "eth0", "connectTime": "5s", "vrf": "red",
        "passwordSecret": {"name": "n"}, "enableGracefulRestart": true, "disableMP": false, "dualStackAddressFamily": true,
    });
    spec.as_object_mut().expect("a spec").extend(newer.as_object().expect("fields").clone());
    let object = json!({"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "metadata": {"name": "x"}, "spec": spec});
    assert_eq!(through::<BGPPeer>(&object), object);
}
