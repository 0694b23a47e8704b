//! The kinds as consoles show them: names, texts and elements of forms, taken from the definitions.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sources::{Shown, Sources, list, text};

/// Elements that a console has for fields.
const CONTROL: &str = "urn:alm:descriptor:com.tectonic.ui:";

/// The entries of `spec.customresourcedefinitions.owned`: one for each version that is served.
pub(super) fn owned(sources: &Sources) -> Result<Vec<Value>> {
    let mut owned = Vec::new();
    for definition in &sources.definitions {
        let kind = text(&definition["spec"]["names"]["kind"]);
        let shown = sources.kinds.get(kind);
        let shown =
            shown.with_context(|| format!("config/olm/kinds.yaml does not say how {kind} is shown"))?;
        for version in list(&definition["spec"]["versions"]) {
            owned.push(entry(definition, kind, &version, shown)?);
        }
    }
    let known = sources.definitions.iter().map(|definition| text(&definition["spec"]["names"]["kind"]));
    let known: Vec<&str> = known.collect();
    let stale: Vec<&String> = sources.kinds.keys().filter(|kind| !known.contains(&kind.as_str())).collect();
    ensure!(stale.is_empty(), "config/olm/kinds.yaml tells of kinds that there are not: {stale:?}");
    Ok(owned)
}

fn entry(definition: &Value, kind: &str, version: &Value, shown: &Shown) -> Result<Value> {
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut entry = json!({
        "name": definition["metadata"]["name"],
        "kind": kind,
        "version": version["name"],
        "displayName": shown.display_name,
        "description": schema["description"],
        "resources": shown.resources.iter().map(|line| resource(line)).collect::<Result<Vec<_>>>()?,
    });
    let is_stored = version["storage"] == true;
    let spec = spec_descriptors(&schema["properties"]["spec"], shown, is_stored)
        .with_context(|| format!("config/olm/kinds.yaml: {kind}"))?;
    if !spec.is_empty() {
        entry["specDescriptors"] = spec.into();
    }
    let status = status_descriptors(&schema["properties"]["status"]);
    if !status.is_empty() {
        entry["statusDescriptors"] = status.into();
    }
    Ok(entry)
}

/// `Kind/version name` as an object.
fn resource(line: &str) -> Result<Value> {
    let parts = line.split_once(' ').and_then(|(kind, name)| Some((kind.split_once('/')?, name)));
    let ((kind, version), name) = parts.with_context(|| format!("{line:?} should be `Kind/version name`"))?;
    Ok(json!({"kind": kind, "name": name.trim_matches('"'), "version": version}))
}

/// Every field of the first level, and those further down that have an element of their own. Fields of `controls` that
/// a version does not have are an error only in the one that is stored.
fn spec_descriptors(spec: &Value, shown: &Shown, is_stored: bool) -> Result<Vec<Value>> {
    let fields = spec["properties"].as_object().into_iter().flatten();
    let mut paths: Vec<&str> = fields.map(|(name, _)| name.as_str()).collect();
    let deeper = shown.controls.keys().map(String::as_str).filter(|path| path.contains('.'));
    paths.extend(deeper);
    paths.sort_unstable();
    let mut descriptors = Vec::new();
    for path in paths {
        let Some(field) = field(spec, path) else {
            ensure!(!is_stored, "the spec has no field {path}");
            continue;
        };
        let mut descriptor = described(path, field);
        if let Some(controls) = shown.controls.get(path) {
            descriptor["x-descriptors"] = controls.iter().map(|control| urn(control)).collect();
        }
        descriptors.push(descriptor);
    }
    let unknown = shown.controls.keys().find(|path| field(spec, path).is_none());
    ensure!(unknown.is_none() || !is_stored, "the spec has no field {}", unknown.map_or("", String::as_str));
    Ok(descriptors)
}

fn status_descriptors(status: &Value) -> Vec<Value> {
    let fields = status["properties"].as_object().into_iter().flatten();
    let descriptor = |(name, field): (&String, &Value)| {
        let mut descriptor = described(name, field);
        let element = if name == "conditions" {
            "urn:alm:descriptor:io.kubernetes.conditions"
        } else {
            "urn:alm:descriptor:text"
        };
        descriptor["x-descriptors"] = json!([element]);
        descriptor
    };
    fields.map(descriptor).collect()
}

fn described(path: &str, field: &Value) -> Value {
    let name = path.rsplit('.').next().unwrap_or(path);
    let mut descriptor = json!({"path": path, "displayName": title(name)});
    if field["description"].is_string() {
        descriptor["description"] = field["description"].clone();
    }
    descriptor
}

/// The schema of a field, by its path below `schema`.
fn field<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, name| schema["properties"].get(name))
}

fn urn(control: &str) -> Value {
    match control {
        "io.kubernetes:Secret" => format!("urn:alm:descriptor:{control}").into(),
        _ => format!("{CONTROL}{control}").into(),
    }
}

/// The name of a field in words: `avoidBuggyIPs` is `Avoid Buggy IPs`.
fn title(name: &str) -> String {
    let mut words = String::new();
    let mut before = 'A';
    for c in name.chars() {
        if words.is_empty() {
            words.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() && !before.is_uppercase() {
                words.push(' ');
            }
            words.push(c);
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_in_words() {
        for (name, words) in [
            ("logLevel", "Log Level"),
            ("avoidBuggyIPs", "Avoid Buggy IPs"),
            ("myASN", "My ASN"),
            ("vrf", "Vrf"),
            ("frrk8sConfig", "Frrk8s Config"),
        ] {
            assert_eq!(title(name), words);
        }
    }

    #[test]
    fn a_control_of_a_field_that_there_is_not_is_an_error() {
        let spec = json!({"properties": {"a": {"description": "A."}}});
        let mut shown = Shown::default();
        shown.controls.insert("a".to_owned(), vec!["text".to_owned()]);
        let fine = spec_descriptors(&spec, &shown, true).expect("the field exists");
        let expected = json!([{"path": "a", "displayName": "A", "description": "A.",
            "x-descriptors": ["urn:alm:descriptor:com.tectonic.ui:text"]}]);
        assert_eq!(Value::from(fine), expected);
        for path in ["b", "a.c"] {
            shown.controls.insert(path.to_owned(), vec!["text".to_owned()]);
            let error = spec_descriptors(&spec, &shown, true).expect_err("no such field").to_string();
            assert_eq!(error, format!("the spec has no field {path}"));
            assert!(spec_descriptors(&spec, &shown, false).is_ok(), "an older version may lack it");
            shown.controls.remove(path);
        }
    }
}
