//! The ClusterServiceVersion: what OLM installs, and what a catalog shows of it.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::sources::{Sources, list, text};
use super::{RELEASED, Release, descriptors, name};

/// The images that are run, the operator's own first.
const IMAGES: [&str; 3] = ["operator", "controller", "speaker"];
/// The Deployment that answers the webhooks.
const WEBHOOK_SERVER: &str = "metallb-operator-webhook-server";
/// The port on which it does.
const WEBHOOK_PORT: u16 = 9443;
/// Every version before this one may be replaced by it, also those of other projects under the name of the package.
const FIRST: &str = "0.0.1";

/// Makes it from the files of `config/`.
pub(super) fn csv(sources: &Sources, release: &Release) -> Result<Value> {
    let mut csv = sources.base.clone();
    let metadata = csv["metadata"].as_object_mut().context("config/olm/base.yaml has no metadata")?;
    metadata.insert("name".to_owned(), release.name().into());
    metadata.insert("namespace".to_owned(), "placeholder".into());
    let annotations = csv["metadata"]["annotations"].as_object_mut().context("there are no annotations")?;
    annotate(annotations, sources, release)?;
    let spec = csv["spec"].as_object_mut().context("config/olm/base.yaml has no spec")?;
    spec.insert("version".to_owned(), release.version.clone().into());
    if let Some(replaced) = &release.replaces {
        spec.insert("replaces".to_owned(), name(replaced).into());
    }
    spec.insert("description".to_owned(), sources.description.trim_end().into());
    let icon = json!([{"base64data": STANDARD.encode(&sources.icon), "mediatype": "image/svg+xml"}]);
    spec.insert("icon".to_owned(), icon);
    let owned = descriptors::owned(sources)?;
    spec.insert("customresourcedefinitions".to_owned(), json!({"owned": owned}));
    spec.insert("install".to_owned(), install(sources, release)?);
    spec.insert("webhookdefinitions".to_owned(), webhooks(sources)?.into());
    let images = IMAGES.map(|image| json!({"name": image, "image": release.image(image)}));
    spec.insert("relatedImages".to_owned(), images.to_vec().into());
    Ok(csv)
}

fn annotate(annotations: &mut Map<String, Value>, sources: &Sources, release: &Release) -> Result<()> {
    let mut set = |key: &str, value: String| drop(annotations.insert(key.to_owned(), value.into()));
    set("alm-examples", serde_json::to_string_pretty(&sources.examples)?);
    set("containerImage", release.image(IMAGES[0]));
    set("olm.skipRange", format!(">={FIRST} <{}", release.version));
    let internal = sources.definitions.iter().filter(|definition| {
        let shown = sources.kinds.get(text(&definition["spec"]["names"]["kind"]));
        shown.is_some_and(|shown| shown.internal)
    });
    let internal: Vec<&Value> = internal.map(|definition| &definition["metadata"]["name"]).collect();
    set("operators.operatorframework.io/internal-objects", serde_json::to_string(&internal)?);
    // Consoles ask for this one as soon as the operator is there: without it nothing runs.
    let mut first = sources.examples.iter().filter(|example| example["kind"] == "MetalLB");
    let first = first.next().context("config/olm/examples has no MetalLB")?;
    set("operatorframework.io/initialization-resource", serde_json::to_string_pretty(first)?);
    Ok(())
}

fn install(sources: &Sources, release: &Release) -> Result<Value> {
    let deployments = sources.deployments.iter().map(|deployment| {
        let mut spec = deployment["spec"].clone();
        name_images(&mut spec, release);
        // OpenShift gives each namespace users of its own, and takes no others; the user of the images is none but nobody.
        let context = spec.pointer_mut("/template/spec/securityContext").and_then(Value::as_object_mut);
        let context = context.context("a Deployment has no securityContext")?;
        context.retain(|field, _| field != "runAsUser" && field != "runAsGroup");
        let name = text(&deployment["metadata"]["name"]);
        if name == WEBHOOK_SERVER {
            // OLM mounts a certificate where the program looks for one that it does not make itself.
            let arguments =
                spec.pointer_mut("/template/spec/containers/0/args").and_then(Value::as_array_mut);
            arguments
                .context("the webhook server has no arguments")?
                .push("--disable-cert-rotation=true".into());
        }
        Ok(json!({"name": name, "label": deployment["metadata"]["labels"], "spec": spec}))
    });
    Ok(json!({
        "strategy": "deployment",
        "spec": {
            "clusterPermissions": permissions(sources, "ClusterRole")?,
            "deployments": deployments.collect::<Result<Vec<_>>>()?,
            "permissions": permissions(sources, "Role")?,
        },
    }))
}

/// The rules of each account that `kind`s give it.
fn permissions(sources: &Sources, kind: &str) -> Result<Vec<Value>> {
    let of_kind = |kind: String| sources.rbac.iter().filter(move |object| object["kind"] == kind);
    let mut permissions: Vec<Value> = Vec::new();
    for binding in of_kind(format!("{kind}Binding")) {
        let role =
            of_kind(kind.to_owned()).find(|role| role["metadata"]["name"] == binding["roleRef"]["name"]);
        let role = role.with_context(|| format!("{} binds no role", binding["metadata"]["name"]))?;
        let subjects = list(&binding["subjects"]);
        ensure!(subjects.len() == 1, "{} should bind one account", binding["metadata"]["name"]);
        let account = &subjects[0]["name"];
        match permissions.iter_mut().find(|entry| entry["serviceAccountName"] == *account) {
            Some(entry) => entry["rules"] = [list(&entry["rules"]), list(&role["rules"])].concat().into(),
            None => permissions.push(json!({"serviceAccountName": account, "rules": role["rules"]})),
        }
    }
    Ok(permissions)
}

/// The webhooks of the configuration, and the conversion of the definition whose versions differ.
fn webhooks(sources: &Sources) -> Result<Vec<Value>> {
    let mut definitions = Vec::new();
    for webhook in &sources.webhooks {
        let mut definition = json!({
            "type": "ValidatingAdmissionWebhook",
            "generateName": webhook["name"],
            "deploymentName": WEBHOOK_SERVER,
            "containerPort": 443,
            "targetPort": WEBHOOK_PORT,
            "webhookPath": webhook["clientConfig"]["service"]["path"],
        });
        let same = [
            "admissionReviewVersions",
            "failurePolicy",
            "matchPolicy",
            "rules",
            "sideEffects",
            "timeoutSeconds",
        ];
        for field in same {
            ensure!(!webhook[field].is_null(), "webhook {} does not say its {field}", webhook["name"]);
            definition[field] = webhook[field].clone();
        }
        definitions.push(definition);
    }
    for definition in &sources.definitions {
        if list(&definition["spec"]["versions"]).len() > 1 {
            definitions.push(json!({
                "type": "ConversionWebhook",
                "generateName": format!("c{}.metallb.io", text(&definition["spec"]["names"]["plural"])),
                "deploymentName": WEBHOOK_SERVER,
                "containerPort": 443,
                "targetPort": WEBHOOK_PORT,
                "webhookPath": "/convert",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "conversionCRDs": [definition["metadata"]["name"]],
            }));
        }
    }
    Ok(definitions)
}

/// Replaces the images as `config/` names them by those of the release.
fn name_images(value: &mut Value, release: &Release) {
    match value {
        Value::String(text) => {
            if let Some(image) = text.strip_prefix(RELEASED).and_then(|rest| rest.strip_prefix('/')) {
                *text = release.image(image.split([':', '@']).next().unwrap_or(image));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| name_images(value, release)),
        Value::Object(map) => map.values_mut().for_each(|value| name_images(value, release)),
        _ => {}
    }
}
