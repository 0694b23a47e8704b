//! BGPPeers go from one version to the other and back without loss.

use api::names::BGP_PEER_STASH;
use api::{ConversionError, convert_bgp_peer, v1beta1};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const OLD: &str = "metallb.io/v1beta1";
const NEW: &str = "metallb.io/v1beta2";

fn peer(api_version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": "BGPPeer",
        "metadata": {"name": "p", "namespace": "metallb-system", "uid": "u", "labels": {"l": "v"}, "generation": 3},
        "spec": spec,
        "status": {},
    })
}

fn to(api_version: &str, peer: &Value) -> Value {
    convert_bgp_peer(peer.clone(), api_version).expect("a BGPPeer")
}

/// What v1beta2 has that v1beta1 lacks, as noted on the object.
fn stash(peer: &Value) -> Option<Value> {
    let text = peer["metadata"]["annotations"].get(BGP_PEER_STASH)?.as_str().expect("a text");
    Some(serde_json::from_str(text).expect("the annotation is JSON"))
}

/// As the API server reads v1beta2: with the defaults of what is not given.
fn defaulted(mut peer: Value) -> Value {
    let spec = peer["spec"].as_object_mut().expect("a spec");
    for field in ["disableMP", "dualStackAddressFamily"] {
        spec.entry(field).or_insert(json!(false));
    }
    peer
}

#[test]
fn each_version_says_what_the_other_said() {
    let selectors = |values: Value| {
        let mut exists = json!({"key": "k", "operator": "Exists"});
        if !values.is_null() {
            exists["values"] = values;
        }
        json!([{"matchLabels": {"a": "b"}}, {"matchExpressions": [exists]}])
    };
    let none = Value::Null;
    // v1beta2, v1beta1, what is noted with the latter.
    for (new, old, noted) in [
        (
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.1", "holdTime": "90s"}),
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "10.0.0.1", "holdTime": "90s"}),
            none.clone(),
        ),
        (
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "holdTime": "0s", "keepaliveTime": "0s", "peerPort": 179,
                "sourceAddress": "b", "routerID": "c", "password": "d", "bfdProfile": "e", "ebgpMultiHop": false}),
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "holdTime": "0s", "keepaliveTime": "0s", "peerPort": 179,
                "sourceAddress": "b", "routerID": "c", "password": "d", "bfdProfile": "e", "ebgpMultiHop": false}),
            none.clone(),
        ),
        (
            json!({"myASN": 1, "dynamicASN": "external", "interface": "eth0", "enableGracefulRestart": false}),
            json!({"myASN": 1, "peerASN": 0, "peerAddress": ""}),
            json!({"dynamicASN": "external", "interface": "eth0", "enableGracefulRestart": false, "peerASN": null,
                "peerAddress": null}),
        ),
        (
            json!({"myASN": 1, "peerASN": 0, "peerAddress": "", "dynamicASN": "internal", "interface": "eth0"}),
            json!({"myASN": 1, "peerASN": 0, "peerAddress": ""}),
            json!({"dynamicASN": "internal", "interface": "eth0"}),
        ),
        (
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "localASN": 3, "connectTime": "5s", "vrf": "red",
                "passwordSecret": {"name": "s"}, "dualStackAddressFamily": true, "fieldOfTheFuture": [1]}),
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a"}),
            json!({"localASN": 3, "connectTime": "5s", "vrf": "red", "passwordSecret": {"name": "s"},
                "dualStackAddressFamily": true, "fieldOfTheFuture": [1]}),
        ),
        (
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "nodeSelectors": selectors(Value::Null)}),
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "nodeSelectors": selectors(json!([""]))}),
            none,
        ),
        (
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "nodeSelectors": selectors(json!([]))}),
            json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "nodeSelectors": selectors(json!([""]))}),
            json!({"nodeSelectors": selectors(json!([]))}),
        ),
    ] {
        let converted = to(OLD, &peer(NEW, &new));
        assert_eq!(converted["spec"], old);
        assert_eq!(stash(&converted).unwrap_or_default(), noted, "{new}");
        assert_eq!(to(NEW, &converted), peer(NEW, &new));
    }
}

#[test]
fn a_port_of_0_and_defaults_of_the_newer_version_are_the_same_as_none() {
    let old = peer(OLD, &json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "peerPort": 0}));
    assert_eq!(to(NEW, &old)["spec"], json!({"myASN": 1, "peerASN": 2, "peerAddress": "a"}));
    let new = peer(
        NEW,
        &json!({"myASN": 1, "peerASN": 2, "peerAddress": "a", "disableMP": false, "dualStackAddressFamily": false}),
    );
    assert_eq!(to(OLD, &new), peer(OLD, &json!({"myASN": 1, "peerASN": 2, "peerAddress": "a"})));
}

#[test]
fn an_edit_in_the_older_version_is_kept_beside_what_only_the_newer_one_has() {
    let new = peer(
        NEW,
        &json!({"myASN": 1, "dynamicASN": "external", "interface": "eth0", "vrf": "red",
            "nodeSelectors": [{"matchExpressions": [{"key": "k", "operator": "Exists", "values": []}]}]}),
    );
    let mut old = to(OLD, &new);
    old["spec"]["myASN"] = json!(9);
    old["spec"]["peerAddress"] = json!("10.0.0.1");
    old["spec"]["nodeSelectors"][0]["matchExpressions"][0]["key"] = json!("other");
    old["metadata"]["annotations"]["mine"] = json!("a");
    let back = to(NEW, &old);
    assert_eq!(
        back["spec"],
        json!({"myASN": 9, "peerAddress": "10.0.0.1", "dynamicASN": "external", "interface": "eth0", "vrf": "red",
            "nodeSelectors": [{"matchExpressions": [{"key": "other", "operator": "Exists"}]}]})
    );
    assert_eq!(back["metadata"]["annotations"], json!({"mine": "a"}));

    let mut old = to(OLD, &new);
    old["spec"].as_object_mut().expect("a spec").remove("nodeSelectors");
    assert_eq!(to(NEW, &old)["spec"].get("nodeSelectors"), None, "removed there, removed here");
}

#[test]
fn a_spoiled_annotation_does_no_harm_and_stays() {
    let spec = json!({"myASN": 1, "peerASN": 2, "peerAddress": "a"});
    for text in [json!("{"), json!("[1]"), json!(""), json!(7)] {
        let mut old = peer(OLD, &spec);
        old["metadata"]["annotations"] = json!({BGP_PEER_STASH: text});
        let new = to(NEW, &old);
        assert_eq!(new["spec"], spec);
        assert_eq!(new["metadata"], old["metadata"]);
    }
}

#[test]
fn objects_without_a_spec_or_already_in_the_version_are_not_touched() {
    let bare = json!({"apiVersion": NEW, "kind": "BGPPeer", "metadata": {"name": "p"}});
    assert_eq!(to(OLD, &bare), json!({"apiVersion": OLD, "kind": "BGPPeer", "metadata": {"name": "p"}}));
    let new = peer(NEW, &json!({"vrf": "red"}));
    assert_eq!(to(NEW, &new), new);
}

#[test]
fn what_is_no_bgp_peer_is_refused_with_the_reason() {
    for (object, version, text) in [
        (
            json!(null),
            OLD,
            "cannot convert \"\" of \"\": only BGPPeers of metallb.io have more than one version",
        ),
        (
            json!({"apiVersion": "metallb.io/v1beta1", "kind": "Community"}),
            NEW,
            "cannot convert \"Community\" of \"metallb.io/v1beta1\": only BGPPeers of metallb.io have more than one version",
        ),
        (
            json!({"apiVersion": "example.com/v1beta1", "kind": "BGPPeer"}),
            NEW,
            "cannot convert \"BGPPeer\" of \"example.com/v1beta1\": only BGPPeers of metallb.io have more than one version",
        ),
        (
            json!({"apiVersion": "metallb.io/v1", "kind": "BGPPeer"}),
            NEW,
            "BGPPeer has no version \"metallb.io/v1\": the versions are metallb.io/v1beta1 and metallb.io/v1beta2",
        ),
        (
            json!({"apiVersion": NEW, "kind": "BGPPeer"}),
            "metallb.io/v1beta3",
            "BGPPeer has no version \"metallb.io/v1beta3\": the versions are metallb.io/v1beta1 and metallb.io/v1beta2",
        ),
        (
            json!({"apiVersion": NEW, "kind": "BGPPeer", "metadata": {"name": "p"}, "spec": []}),
            OLD,
            "BGPPeer \"p\": spec is not an object",
        ),
        (
            json!({"apiVersion": OLD, "kind": "BGPPeer", "metadata": {"name": "p", "annotations": 1}, "spec": {}}),
            NEW,
            "BGPPeer \"p\": metadata.annotations is not an object",
        ),
    ] {
        let error: ConversionError = convert_bgp_peer(object, version).expect_err(text);
        assert_eq!(error.to_string(), text);
    }
}

/// An object of fields that are there or not.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> =
        fields.into_iter().map(|(name, value)| of(value).prop_map(move |v| (name, v))).collect();
    fields
        .prop_map(|fields| {
            let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(given.collect())
        })
        .boxed()
}

fn one_of(values: &[Value]) -> BoxedStrategy<Value> {
    proptest::sample::select(values.to_vec()).boxed()
}

fn selectors(values: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let operators =
        one_of(&[json!("In"), json!("NotIn"), json!("Exists"), json!("DoesNotExist"), json!("Gt")]);
    let expression =
        (one_of(&[json!("a"), json!("b")]), operators, of(values)).prop_map(|(key, operator, values)| {
            match values {
                Some(values) => json!({"key": key, "operator": operator, "values": values}),
                None => json!({"key": key, "operator": operator}),
            }
        });
    let expressions = vec(expression, 0..3).prop_map(Value::Array).boxed();
    let labels = one_of(&[json!({}), json!({"l": "v"})]);
    vec(object(vec![("matchExpressions", expressions), ("matchLabels", labels)]), 0..3)
        .prop_map(Value::Array)
        .boxed()
}

fn flags() -> BoxedStrategy<Value> {
    one_of(&[json!(true), json!(false)])
}

fn texts() -> BoxedStrategy<Value> {
    one_of(&[json!(""), json!("0s"), json!("90s"), json!("10.0.0.1")])
}

fn numbers() -> BoxedStrategy<Value> {
    one_of(&[json!(0), json!(1), json!(179), json!(4_294_967_295_u32)])
}

/// The fields of both versions other than those that the older one wants.
fn common(selectors: BoxedStrategy<Value>) -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let mut fields = vec![
        ("peerPort", one_of(&[json!(0), json!(179)])),
        ("ebgpMultiHop", flags()),
        ("nodeSelectors", selectors),
    ];
    let names = ["sourceAddress", "holdTime", "keepaliveTime", "routerID", "password", "bfdProfile"];
    fields.extend(names.map(|name| (name, texts())));
    fields
}

fn newer_spec() -> impl Strategy<Value = Value> {
    let values = one_of(&[json!([]), json!([""]), json!(["v"]), json!(["v", ""])]);
    let mut fields = common(selectors(values));
    fields.extend(["myASN", "peerASN", "localASN"].map(|name| (name, numbers())));
    let names = ["peerAddress", "interface", "connectTime", "vrf", "dynamicASN", "fieldOfTheFuture"];
    fields.extend(names.map(|name| (name, texts())));
    fields
        .extend(["disableMP", "dualStackAddressFamily", "enableGracefulRestart"].map(|name| (name, flags())));
    fields.push(("passwordSecret", object(vec![("name", texts()), ("namespace", texts())])));
    object(fields)
}

fn older_spec() -> impl Strategy<Value = Value> {
    // The schema of v1beta1 wants values with every operator.
    let values = one_of(&[json!([""]), json!(["v"]), json!(["v", ""])]);
    let required = (numbers(), numbers(), texts());
    (object(common(selectors(values))), required).prop_map(|(mut spec, (my_asn, peer_asn, address))| {
        spec["myASN"] = my_asn;
        spec["peerASN"] = peer_asn;
        spec["peerAddress"] = address;
        for selector in spec.get_mut("nodeSelectors").and_then(Value::as_array_mut).into_iter().flatten() {
            for expression in
                selector.get_mut("matchExpressions").and_then(Value::as_array_mut).into_iter().flatten()
            {
                expression.as_object_mut().expect("an expression").entry("values").or_insert(json!([""]));
            }
        }
        spec
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = one_of(&[json!(null), json!(1), json!("Exists"), json!("{}"), json!(true)]);
    leaf.prop_recursive(4, 32, 4, |inner| {
        let keys = [
            "spec",
            "metadata",
            "annotations",
            "nodeSelectors",
            "matchExpressions",
            "values",
            "operator",
            BGP_PEER_STASH,
        ];
        let fields = vec((proptest::sample::select(keys.to_vec()), inner.clone()), 0..4);
        let object = fields.prop_map(|fields| {
            Value::Object(
                fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
            )
        });
        prop_oneof![vec(inner, 0..3).prop_map(Value::Array), object]
    })
}

proptest! {
    #[test]
    fn the_newer_version_survives_the_older(spec in newer_spec()) {
        let new = peer(NEW, &spec);
        prop_assert_eq!(defaulted(to(NEW, &to(OLD, &new))), defaulted(new));
    }

    #[test]
    fn the_older_version_survives_the_newer_and_needs_no_annotation(spec in older_spec()) {
        let old = peer(OLD, &spec);
        let new = to(NEW, &old);
        prop_assert_eq!(&new["metadata"], &old["metadata"]);
        let mut expected = old;
        if expected["spec"].get("peerPort") == Some(&json!(0)) {
            expected["spec"].as_object_mut().expect("a spec").remove("peerPort");
        }
        prop_assert_eq!(to(OLD, &new), expected);
    }

    #[test]
    fn what_the_older_version_shows_can_be_written_in_it(spec in newer_spec()) {
        let mut old = to(OLD, &peer(NEW, &spec));
        // The one required field that both have.
        old["spec"].as_object_mut().expect("a spec").entry("myASN").or_insert(json!(1));
        let old: v1beta1::BGPPeer = serde_json::from_value(old).expect("has the required fields");
        for expression in old.spec.node_selectors.iter().flat_map(|selector| &selector.match_expressions) {
            prop_assert!(!expression.values.is_empty());
        }
    }

    #[test]
    fn an_edited_field_changes_and_no_other(spec in newer_spec(), edit in older_spec()) {
        for (field, value) in edit.as_object().expect("a spec") {
            let mut old = to(OLD, &peer(NEW, &spec));
            old["spec"][field] = value.clone();
            let back = to(NEW, &old);
            let mut expected = peer(NEW, &spec);
            let shown = to(OLD, &expected)["spec"].get(field).cloned();
            // Written as it was shown, the field is not edited.
            if shown.as_ref() != Some(value) {
                match to(NEW, &peer(OLD, &json!({field: value})))["spec"].get(field) {
                    Some(value) => expected["spec"][field] = value.clone(),
                    None => drop(expected["spec"].as_object_mut().expect("a spec").remove(field)),
                }
            }
            prop_assert_eq!(defaulted(back), defaulted(expected), "{} = {}", field, value);
        }
    }

    #[test]
    fn no_object_makes_it_panic(mut object in any_json(), from in 0..2_usize) {
        if let Some(object) = object.as_object_mut() {
            object.insert("kind".to_owned(), json!("BGPPeer"));
            object.insert("apiVersion".to_owned(), json!([OLD, NEW][from]));
        }
        drop(convert_bgp_peer(object, [NEW, OLD][from]));
    }
}
