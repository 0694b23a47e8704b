//! The definitions are equal in structure to those that users' manifests were written for: types, required
//! fields, defaults, enums, patterns, rules, list types, columns and subresources; descriptions are ours. What we
//! add stands in [`additions`].

mod additions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use additions::{ADDITIONS, Addition};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The definition without what is not structure: descriptions, the order of lists of names, and metadata other than
/// the name.
fn structure(mut definition: Value) -> Value {
    normalize(&mut definition);
    let name = definition["metadata"]["name"].take();
    definition["metadata"] = serde_json::json!({"name": name});
    definition
}

fn normalize(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // A property may itself be called "description"; then its value is a schema, not a text.
            if map.get("description").is_some_and(Value::is_string) {
                map.remove("description");
            }
            if let Some(Value::Array(required)) = map.get_mut("required") {
                required.sort_by_key(ToString::to_string);
            }
            map.values_mut().for_each(normalize);
        }
        Value::Array(list) => list.iter_mut().for_each(normalize),
        // Bounds are floating point numbers in the typed definition, whole numbers in a YAML file.
        Value::Number(number) => {
            if let Some(whole) =
                number.as_f64().map(|f| format!("{f}")).and_then(|text| text.parse::<i64>().ok())
            {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

/// Where two values differ, as `path: ours / theirs` lines.
fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let missing = Value::String("(absent)".to_owned());
                let (x, y) = (a.get(key).unwrap_or(&missing), b.get(key).unwrap_or(&missing));
                differences(&format!("{path}.{key}"), x, y, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: {ours} / {theirs}")),
    }
}

/// Takes an addition out of a definition; false where it is not there.
fn take(definition: &mut Value, version: &str, place: &str, addition: &Addition) -> bool {
    let versions = definition["spec"]["versions"].as_array_mut().expect("versions");
    let Some(version) = versions.iter_mut().find(|v| v["name"] == version) else { return false };
    let mut pointer = "/schema/openAPIV3Schema".to_owned();
    if let Addition::Field = addition {
        let (parent, field) = place.rsplit_once('.').expect("the place of a field is in an object");
        for part in parent.split('.') {
            pointer += &format!("/properties/{part}");
        }
        let Some(Value::Object(schema)) = version.pointer_mut(&pointer) else { return false };
        let required = schema.get("required").and_then(Value::as_array);
        if required.is_some_and(|required| required.iter().any(|name| name == field)) {
            return false;
        }
        let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
        return properties.is_some_and(|properties| properties.remove(field).is_some());
    }
    for part in place.split('.') {
        let (field, items) = part.strip_suffix("[]").map_or((part, ""), |field| (field, "/items"));
        pointer += &format!("/properties/{field}{items}");
    }
    let Some(Value::Object(schema)) = version.pointer_mut(&pointer) else { return false };
    let bound = |key: &str, max: u64| (key.to_owned(), max);
    let (key, max) = match addition {
        Addition::MaxItems(max) => bound("maxItems", *max),
        Addition::MaxLength(max) => bound("maxLength", *max),
        Addition::Field => return false,
        Addition::Rule(message) => {
            let Some(Value::Array(rules)) = schema.get_mut("x-kubernetes-validations") else { return false };
            let starts =
                |rule: &Value| rule["message"].as_str().is_some_and(|text| text.starts_with(message));
            // The last of them, as one message may be the beginning of another.
            let Some(index) = rules.iter().rposition(starts) else { return false };
            rules.remove(index);
            if rules.is_empty() {
                schema.remove("x-kubernetes-validations");
            }
            return true;
        }
    };
    if schema.get(&key) != Some(&max.into()) {
        return false;
    }
    schema.remove(&key);
    true
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    structure(serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

#[test]
fn every_definition_has_the_structure_of_its_fixture_and_the_listed_additions() {
    let mut found = Vec::new();
    for crd in api::crds() {
        let kind = &crd.spec.names.kind;
        let mut ours = structure(serde_json::to_value(&crd).expect("a definition is JSON"));
        for (_, version, place, addition) in ADDITIONS.iter().filter(|(of, ..)| of == kind) {
            if !take(&mut ours, version, place, addition) {
                found.push(format!("{kind} {version} {place}: listed but absent: {addition:?}"));
            }
        }
        let theirs = read(&fixtures().join(format!("metallb.io_{}.yaml", crd.spec.names.plural)));
        differences(kind, &ours, &theirs, &mut found);
    }
    assert!(found.is_empty(), "ours / theirs:\n{}", found.join("\n"));
}

#[test]
fn there_is_a_definition_for_every_fixture_and_every_listed_kind() {
    let crds = api::crds();
    let ours: BTreeSet<_> =
        crds.iter().map(|crd| format!("metallb.io_{}.yaml", crd.spec.names.plural)).collect();
    let theirs: BTreeSet<_> = fs::read_dir(fixtures())
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(ours, theirs);
    for (kind, ..) in ADDITIONS {
        assert!(
            crds.iter().any(|crd| crd.spec.names.kind == *kind),
            "{kind} is listed but has no definition"
        );
    }
    assert!(crds.is_sorted_by_key(|crd| crd.metadata.name.clone()));
}

#[test]
fn fixtures_are_the_reference_definitions_where_those_are_at_hand() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/crds");
    for entry in fs::read_dir(fixtures()).expect("the fixtures") {
        let fixture = entry.expect("an entry").path();
        let original = reference.join(fixture.file_name().expect("a file"));
        if original.exists() {
            assert_eq!(read(&fixture), read(&original), "{} is not the reference's", fixture.display());
        }
    }
}

#[test]
fn every_field_is_described() {
    fn visit(path: &str, schema: &Value, out: &mut Vec<String>) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
        for (name, inner) in properties {
            let path = format!("{path}.{name}");
            // What lies in an affinity, a toleration or a selector is Kubernetes' own and described there.
            if inner.get("description").is_none() && !name.starts_with("metadata") {
                out.push(path.clone());
            }
            if !matches!(name.as_str(), "affinity" | "resources") {
                visit(&path, inner, out);
            }
        }
    }
    let mut missing = Vec::new();
    for crd in api::crds() {
        let value = serde_json::to_value(&crd).expect("a definition is JSON");
        for version in value["spec"]["versions"].as_array().expect("versions") {
            visit(&crd.spec.names.kind, &version["schema"]["openAPIV3Schema"], &mut missing);
        }
    }
    assert!(missing.is_empty(), "no description: {missing:?}");
}

#[test]
fn the_conversion_webhook_is_set_only_on_demand() {
    let peers = |crd: &&mut _| {
        let crd: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition = crd;
        crd.spec.names.kind == "BGPPeer"
    };
    let mut crds = api::crds();
    assert!(crds.iter().all(|crd| crd.spec.conversion.is_none()));
    let definition = crds.iter_mut().find(peers).expect("that of the BGPPeers");
    let webhook = api::ConversionWebhook {
        namespace: "metallb-system".to_owned(),
        service: "metallb-webhook-service".to_owned(),
        path: "/convert".to_owned(),
        port: None,
        ca_bundle: Some(b"PEM".to_vec()),
    };
    webhook.set(definition);
    assert_eq!(
        serde_json::to_value(&definition.spec.conversion).expect("a conversion is JSON"),
        serde_json::json!({
            "strategy": "Webhook",
            "webhook": {
                "clientConfig": {
                    "caBundle": "UEVN",
                    "service": {"name": "metallb-webhook-service", "namespace": "metallb-system", "path": "/convert"},
                },
                "conversionReviewVersions": ["v1", "v1beta1"],
            },
        })
    );
}
