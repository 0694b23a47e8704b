//! BGPPeers from one version to the other, without loss.
//!
//! ```text
//!            v1beta1                                        v1beta2 (stored)
//!   peerPort: 0                  ──────────▶      (not given: 179)
//!   Exists, values: [""]         ◀─────────▶      Exists, without values
//!   peerASN: 0, peerAddress: ""  ◀──────────      (not given)                      ┐ noted in an annotation of
//!   —                            ◀──────────      localASN, interface, vrf, …      ┘ the v1beta1 object, and taken
//!                                                                                    from there on the way back
//! ```
//!
//! What is not given stays not given. The annotation ([`BGP_PEER_STASH`]) holds what v1beta1 cannot say; on the
//! way back a field that was edited in v1beta1 keeps the edit, and all else is as it was. An object that is
//! written in v1beta1 for the first time has no such annotation, and one in v1beta2 never has.
//!
//! Nothing here judges the values: an object that is not valid in one version is as invalid in the other.

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::names::{BGP_PEER_STASH, GROUP};

type Object = Map<String, Value>;

/// The fields of `spec` in v1beta1. All of them are in v1beta2, too, with the same meaning.
const OLD_FIELDS: [&str; 12] = [
    "myASN",
    "peerASN",
    "peerAddress",
    "sourceAddress",
    "peerPort",
    "holdTime",
    "keepaliveTime",
    "routerID",
    "nodeSelectors",
    "password",
    "bfdProfile",
    "ebgpMultiHop",
];

/// Fields of v1beta2 that the API server itself sets to this value where they are not given: no need to note it.
const DEFAULTED: [(&str, bool); 2] = [("disableMP", false), ("dualStackAddressFamily", false)];

/// Why an object cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConversionError {
    /// Not a BGPPeer.
    #[error(
        "cannot convert {kind:?} of {api_version:?}: only BGPPeers of {GROUP} have more than one version"
    )]
    NotAPeer {
        /// The object's kind.
        kind: String,
        /// The object's version.
        api_version: String,
    },
    /// A version that BGPPeers do not have.
    #[error("BGPPeer has no version {0:?}: the versions are {GROUP}/v1beta1 and {GROUP}/v1beta2")]
    UnknownVersion(String),
    /// A part of the object is not what it is in every object.
    #[error("BGPPeer {name:?}: {field} is not an object")]
    NotAnObject {
        /// The name of the BGPPeer.
        name: String,
        /// The part at fault.
        field: &'static str,
    },
}

/// The versions of BGPPeer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1beta1,
    V1beta2,
}

/// The BGPPeer in another version, given as in `desiredAPIVersion` of a ConversionReview: `metallb.io/v1beta1` or
/// `metallb.io/v1beta2`. Of the metadata only the annotations change. An object that has the version already is
/// returned as it is.
pub fn convert_bgp_peer(peer: Value, api_version: &str) -> Result<Value, ConversionError> {
    let text = |field: &str| peer.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, from) = (text("kind"), text("apiVersion"));
    let (Value::Object(mut peer), "BGPPeer", Some((GROUP, _))) = (peer, kind.as_str(), from.split_once('/'))
    else {
        return Err(ConversionError::NotAPeer { kind, api_version: from });
    };
    let (from, to) = (Version::parse(&from)?, Version::parse(api_version)?);
    if from == to {
        return Ok(Value::Object(peer));
    }
    check(&peer)?;
    match to {
        Version::V1beta1 => downgrade(&mut peer),
        Version::V1beta2 => upgrade(&mut peer),
    }
    peer.insert("apiVersion".to_owned(), api_version.into());
    Ok(Value::Object(peer))
}

impl Version {
    fn parse(api_version: &str) -> Result<Self, ConversionError> {
        match api_version.strip_prefix(GROUP) {
            Some("/v1beta1") => Ok(Self::V1beta1),
            Some("/v1beta2") => Ok(Self::V1beta2),
            _ => Err(ConversionError::UnknownVersion(api_version.to_owned())),
        }
    }
}

/// Makes sure that the parts that are touched are objects where they are present.
fn check(peer: &Object) -> Result<(), ConversionError> {
    let name = peer.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str).unwrap_or_default();
    let annotations = peer.get("metadata").and_then(|metadata| metadata.get("annotations"));
    for (field, part) in [
        ("metadata", peer.get("metadata")),
        ("metadata.annotations", annotations),
        ("spec", peer.get("spec")),
    ] {
        if part.is_some_and(|part| !part.is_object() && !part.is_null()) {
            return Err(ConversionError::NotAnObject { name: name.to_owned(), field });
        }
    }
    Ok(())
}

/// From v1beta2 to v1beta1.
fn downgrade(peer: &mut Object) {
    let Some(Value::Object(spec)) = peer.get_mut("spec") else { return };
    let mut stash = Object::new();
    for (field, value) in std::mem::take(spec) {
        if !OLD_FIELDS.contains(&field.as_str()) {
            if !DEFAULTED.iter().any(|(name, default)| field == *name && value == *default) {
                stash.insert(field, value);
            }
            continue;
        }
        let old = older(&field, value.clone());
        if newer(&field, old.clone()).as_ref() != Some(&value) {
            stash.insert(field.clone(), value);
        }
        spec.insert(field, old);
    }
    for (field, filler) in [("peerASN", json!(0)), ("peerAddress", json!(""))] {
        if !spec.contains_key(field) {
            spec.insert(field.to_owned(), filler);
            stash.insert(field.to_owned(), Value::Null);
        }
    }
    if !stash.is_empty() {
        put_stash(peer, stash);
    }
}

/// From v1beta1 to v1beta2.
fn upgrade(peer: &mut Object) {
    let stash = take_stash(peer);
    let Some(Value::Object(spec)) = peer.get_mut("spec") else { return };
    for (field, old) in std::mem::take(spec) {
        if let Some(value) = newer(&field, old) {
            spec.insert(field, value);
        }
    }
    for (field, value) in stash {
        let now = spec.get(&field);
        if !OLD_FIELDS.contains(&field.as_str()) {
            if now.is_none() {
                spec.insert(field, value);
            }
        } else if value.is_null() {
            // Not given in v1beta2: what is here may be what was filled in.
            if now.is_some_and(|now| *now == 0 || *now == "") {
                spec.remove(&field);
            }
        } else if now == newer(&field, older(&field, value.clone())).as_ref() {
            spec.insert(field, value);
        }
    }
}

/// The value of a field of v1beta2 as v1beta1 can say it.
fn older(field: &str, mut value: Value) -> Value {
    if field == "nodeSelectors" {
        for expression in expressions(&mut value) {
            // v1beta1 wants at least one value, with every operator.
            let values = expression.entry("values").or_insert_with(|| json!([]));
            if values.as_array().is_some_and(Vec::is_empty) {
                *values = json!([""]);
            }
        }
    }
    value
}

/// The value of a field of v1beta1 as v1beta2 says it; `None` where it says nothing.
fn newer(field: &str, mut value: Value) -> Option<Value> {
    match field {
        "peerPort" if value == 0 => return None,
        "nodeSelectors" => {
            for expression in expressions(&mut value) {
                let takes_none =
                    ["Exists", "DoesNotExist"].iter().any(|o| expression.get("operator") == Some(&json!(o)));
                if takes_none && expression.get("values") == Some(&json!([""])) {
                    expression.remove("values");
                }
            }
        }
        _ => {}
    }
    Some(value)
}

/// All match expressions of all selectors.
fn expressions(selectors: &mut Value) -> impl Iterator<Item = &mut Object> {
    let selectors = selectors.as_array_mut().into_iter().flatten();
    let lists = selectors.filter_map(|selector| selector.get_mut("matchExpressions")?.as_array_mut());
    lists.flatten().filter_map(Value::as_object_mut)
}

fn put_stash(peer: &mut Object, stash: Object) {
    let mut entry = peer.entry("metadata").or_insert(Value::Null);
    for part in ["annotations", BGP_PEER_STASH] {
        if entry.is_null() {
            *entry = json!({});
        }
        entry = &mut entry[part];
    }
    *entry = Value::Object(stash).to_string().into();
}

/// Takes the annotation from the object. One that was spoiled stays where it is, for its owner to see: objects
/// that are stored in v1beta1 must stay readable.
fn take_stash(peer: &mut Object) -> Object {
    let Some(annotations) = peer
        .get_mut("metadata")
        .and_then(|metadata| metadata.get_mut("annotations"))
        .and_then(Value::as_object_mut)
    else {
        return Object::new();
    };
    let text = annotations.get(BGP_PEER_STASH).and_then(Value::as_str).unwrap_or_default();
    let Ok(stash) = serde_json::from_str(text) else { return Object::new() };
    annotations.remove(BGP_PEER_STASH);
    if annotations.is_empty()
        && let Some(Value::Object(metadata)) = peer.get_mut("metadata")
    {
        metadata.remove("annotations");
    }
    stash
}
