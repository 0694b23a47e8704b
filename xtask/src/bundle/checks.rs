//! What a bundle must be like before anyone tries to install it.
//!
//! These are the checks that OLM v1 makes of the format registry+v1, those of the scorecard that need no cluster, and
//! what catalogs of others refuse. Each fault is a sentence that names the object.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sources::{list, text};
use super::{Files, PACKAGE};

/// Kinds that OLM installs from a bundle. NetworkPolicies would be among them for OLM, but not for every catalog.
const KINDS: [&str; 19] = [
    "ClusterServiceVersion",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "ConsoleCLIDownload",
    "ConsoleLink",
    "ConsoleQuickStart",
    "ConsoleYAMLSample",
    "PodDisruptionBudget",
    "PodMonitor",
    "PriorityClass",
    "PrometheusRule",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceMonitor",
    "VerticalPodAutoscaler",
];
/// API groups that no webhook may be asked about: OLM could not repair itself.
const UNTOUCHABLE: [&str; 3] = ["*", "olm.operatorframework.io", "admissionregistration.k8s.io"];
/// A catalog takes no more than this of compressed manifests; uncompressed ones are a safe measure.
const SIZE: usize = 1 << 20;

/// Everything that is wrong with the files of a bundle.
pub(crate) fn faults(files: &Files) -> Vec<String> {
    let mut faults = Vec::new();
    let objects = objects(files, &mut faults);
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == *kind).collect::<Vec<_>>();
    let definitions = of_kind("CustomResourceDefinition");
    let [csv] = of_kind("ClusterServiceVersion")[..] else {
        faults.push("the bundle should hold one ClusterServiceVersion".to_owned());
        return faults;
    };
    for object in &objects {
        let kind = text(&object["kind"]);
        if !KINDS.contains(&kind) {
            faults.push(format!(
                "{kind} {} is of a kind that catalogs do not take",
                object["metadata"]["name"]
            ));
        }
    }
    package(files, csv, &mut faults);
    deployments(csv, &mut faults);
    owned(csv, &definitions, &mut faults);
    webhooks(csv, &mut faults);
    examples(csv, &definitions, &mut faults);
    faults
}

fn objects(files: &Files, faults: &mut Vec<String>) -> Vec<Value> {
    let manifests = files.iter().filter(|(path, _)| path.starts_with("manifests/"));
    let mut objects = Vec::new();
    let mut size = 0;
    for (path, text) in manifests {
        size += text.len();
        if text.lines().any(|line| line == "---") {
            faults.push(format!("{path} holds a line `---`: OLM reads the first document of a file only"));
        }
        match serde_saphyr::from_str::<Value>(text) {
            Ok(object) => objects.push(object),
            Err(error) => faults.push(format!("{path} is not one YAML document: {error}")),
        }
    }
    if size > SIZE {
        faults.push(format!("the manifests have {size} bytes: more than {SIZE}"));
    }
    objects
}

fn package(files: &Files, csv: &Value, faults: &mut Vec<String>) {
    let annotations = files.get("metadata/annotations.yaml").map_or("", String::as_str);
    let annotations: Value = serde_saphyr::from_str(annotations).unwrap_or_default();
    let package = &annotations["annotations"]["operators.operatorframework.io.bundle.package.v1"];
    if text(package) != PACKAGE {
        faults.push(format!("metadata/annotations.yaml should name the package {PACKAGE}"));
    }
    let (name, version) = (text(&csv["metadata"]["name"]), text(&csv["spec"]["version"]));
    if name != format!("{PACKAGE}.v{version}") {
        faults.push(format!("ClusterServiceVersion {name} should be named {PACKAGE}.v{version}"));
    }
}

fn deployments(csv: &Value, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for deployment in list(&csv["spec"]["install"]["spec"]["deployments"]) {
        let name = text(&deployment["name"]).to_owned();
        if !is_subdomain(&name) {
            faults.push(format!("Deployment {name:?} has a name that is no DNS subdomain (RFC 1123)"));
        }
        for container in list(&deployment["spec"]["template"]["spec"]["containers"]) {
            if container["resources"]["requests"].is_null() {
                faults.push(format!(
                    "container {} of Deployment {name} requests no resources",
                    container["name"]
                ));
            }
        }
        if !seen.insert(name.clone()) {
            faults.push(format!("Deployment {name} is there twice"));
        }
    }
}

fn owned(csv: &Value, definitions: &[&Value], faults: &mut Vec<String>) {
    let mut present = BTreeSet::new();
    for definition in definitions {
        let name = text(&definition["metadata"]["name"]);
        // OLM writes it, and takes it away when the operator goes: it would lead to a Service that is not there.
        if !definition["spec"]["conversion"].is_null() {
            faults.push(format!("definition {name} should say nothing of conversion: OLM does"));
        }
        for version in list(&definition["spec"]["versions"]) {
            if !present.insert((name.to_owned(), text(&version["name"]).to_owned())) {
                faults.push(format!("definition {name} is there twice"));
            }
        }
    }
    let mut claimed = BTreeSet::new();
    for entry in list(&csv["spec"]["customresourcedefinitions"]["owned"]) {
        let (name, version) = (text(&entry["name"]).to_owned(), text(&entry["version"]).to_owned());
        if list(&entry["resources"]).is_empty() || text(&entry["description"]).is_empty() {
            faults.push(format!("owned definition {name} {version} has no description or no resources"));
        }
        if !claimed.insert((name.clone(), version.clone())) {
            faults.push(format!("definition {name} {version} is owned twice"));
        }
    }
    for (name, version) in claimed.symmetric_difference(&present) {
        let what = if present.contains(&(name.clone(), version.clone())) {
            "not owned"
        } else {
            "owned but not there"
        };
        faults.push(format!("definition {name} {version} is {what}"));
    }
}

fn webhooks(csv: &Value, faults: &mut Vec<String>) {
    let deployments: Vec<Value> =
        list(&csv["spec"]["install"]["spec"]["deployments"]).iter().map(|one| one["name"].clone()).collect();
    let mut names = BTreeSet::new();
    let mut converted = BTreeSet::new();
    for webhook in list(&csv["spec"]["webhookdefinitions"]) {
        let (kind, name) = (text(&webhook["type"]).to_owned(), text(&webhook["generateName"]).to_owned());
        if !is_subdomain(&name) {
            faults.push(format!("webhook {name:?} has a name that is no DNS subdomain (RFC 1123)"));
        }
        if !names.insert((kind.clone(), name.clone())) {
            faults.push(format!("{kind} {name} is there twice"));
        }
        if !deployments.contains(&webhook["deploymentName"]) {
            faults.push(format!(
                "webhook {name} is answered by Deployment {}, which is not there",
                webhook["deploymentName"]
            ));
        }
        for rule in list(&webhook["rules"]) {
            let groups = list(&rule["apiGroups"]);
            if let Some(group) = groups.iter().find(|group| UNTOUCHABLE.contains(&text(group))) {
                faults.push(format!("webhook {name} is asked about API group {group}"));
            }
        }
        for definition in list(&webhook["conversionCRDs"]) {
            let owned = list(&csv["spec"]["customresourcedefinitions"]["owned"]);
            if !owned.iter().any(|entry| entry["name"] == definition) {
                faults.push(format!("webhook {name} converts {definition}, which is not owned"));
            }
            if !converted.insert(text(&definition).to_owned()) {
                faults.push(format!("{definition} is converted by two webhooks"));
            }
        }
        if kind == "ConversionWebhook" && modes(csv) != ["AllNamespaces"] {
            faults.push(format!("webhook {name} converts: AllNamespaces should be the only install mode"));
        }
    }
}

fn modes(csv: &Value) -> Vec<String> {
    let modes = list(&csv["spec"]["installModes"]);
    modes.iter().filter(|mode| mode["supported"] == true).map(|mode| text(&mode["type"]).to_owned()).collect()
}

/// The example of each kind and version that is owned: it has a spec where the kind has one, and each of its fields is
/// described.
fn examples(csv: &Value, definitions: &[&Value], faults: &mut Vec<String>) {
    let examples: Value =
        serde_json::from_str(text(&csv["metadata"]["annotations"]["alm-examples"])).unwrap_or_default();
    let examples = list(&examples);
    for entry in list(&csv["spec"]["customresourcedefinitions"]["owned"]) {
        let (kind, version) = (text(&entry["kind"]), text(&entry["version"]));
        let api_version = format!("metallb.io/{version}");
        let example = examples.iter().find(|one| one["kind"] == *kind && one["apiVersion"] == *api_version);
        let Some(example) = example else {
            faults.push(format!("{kind} {version} has no example"));
            continue;
        };
        if example["spec"].is_null() && has_spec(definitions, &entry) {
            faults.push(format!("the example of {kind} {version} has no spec"));
        }
        let described: Vec<Value> =
            list(&entry["specDescriptors"]).iter().map(|one| one["path"].clone()).collect();
        for field in example["spec"].as_object().into_iter().flat_map(|spec| spec.keys()) {
            if !described.contains(&Value::from(field.as_str())) {
                faults.push(format!("{kind} {version} does not describe the field {field} of its example"));
            }
        }
    }
}

fn has_spec(definitions: &[&Value], entry: &Value) -> bool {
    let definition = definitions.iter().find(|definition| definition["metadata"]["name"] == entry["name"]);
    let versions = definition.map(|definition| list(&definition["spec"]["versions"])).unwrap_or_default();
    let version = versions.iter().find(|version| version["name"] == entry["version"]);
    version.is_some_and(|version| !version["schema"]["openAPIV3Schema"]["properties"]["spec"].is_null())
}

/// RFC 1123, as Kubernetes reads it: labels of lower-case letters, digits and inner hyphens, separated by dots.
fn is_subdomain(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        label.starts_with(fine) && label.ends_with(fine) && label.chars().all(|c| fine(c) || c == '-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
