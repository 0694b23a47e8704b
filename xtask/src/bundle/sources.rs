//! What a bundle is made from: the files of `config/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The permissions by which the webhook server keeps its own certificate: under OLM it has none to keep.
const WITHOUT: &str = "webhook-certificate.yaml";
/// What a cluster with OLM has a use for and others have to apply themselves.
const BESIDES: &str = "prometheus/openshift.yaml";
/// Samples that show what can be written, rather than what somebody who clicks through a form should get.
const NOT_PROPOSED: [&str; 2] = ["metallb.yaml", "metallb-full.yaml"];

/// The files, read.
pub(crate) struct Sources {
    /// CustomResourceDefinitions.
    pub(crate) definitions: Vec<Value>,
    /// Roles and their bindings.
    pub(crate) rbac: Vec<Value>,
    /// What is installed besides, as it is: in the operator's namespace, whatever that is.
    pub(crate) besides: Vec<Value>,
    /// The Deployments of the operator and of the webhook server.
    pub(crate) deployments: Vec<Value>,
    /// The webhooks of the ValidatingWebhookConfiguration.
    pub(crate) webhooks: Vec<Value>,
    /// One object of each kind and version.
    pub(crate) examples: Vec<Value>,
    /// What is said of the operator as a whole.
    pub(crate) base: Value,
    /// The text that is shown beside it.
    pub(crate) description: String,
    /// Its sign, an SVG.
    pub(crate) icon: String,
    /// How each kind is shown.
    pub(crate) kinds: BTreeMap<String, Shown>,
}

/// How a kind is shown in consoles.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Shown {
    /// What it is called.
    pub(crate) display_name: String,
    /// Whether only programs write it.
    #[serde(default)]
    pub(crate) internal: bool,
    /// Objects that belong to it, as `Kind/version name`.
    pub(crate) resources: Vec<String>,
    /// Elements of forms by the path of the field.
    #[serde(default)]
    pub(crate) controls: BTreeMap<String, Vec<String>>,
}

impl Sources {
    /// Reads them from the folder `config`.
    pub(crate) fn read(config: &Path) -> Result<Self> {
        let text = |path: &str| {
            fs::read_to_string(config.join(path)).with_context(|| format!("cannot read config/{path}"))
        };
        let kinds = text("olm/kinds.yaml")?;
        let examples = documents(&config.join("samples"), &NOT_PROPOSED)?;
        let mut deployments = documents(&config.join("manager"), &[])?;
        let webhook = documents(&config.join("webhook"), &[])?;
        let mut besides = documents_of(&config.join(BESIDES))?;
        for object in &mut besides {
            let metadata = object["metadata"].as_object_mut().context("an object has metadata")?;
            metadata.remove("namespace");
        }
        deployments.extend(webhook.iter().cloned());
        deployments.retain(|document| document["kind"] == "Deployment");
        let mut webhooks =
            webhook.iter().filter(|document| document["kind"] == "ValidatingWebhookConfiguration");
        Ok(Self {
            definitions: documents(&config.join("crd"), &[])?,
            rbac: documents(&config.join("rbac"), &[WITHOUT])?,
            besides,
            deployments,
            webhooks: webhooks.next().map(|one| list(&one["webhooks"])).unwrap_or_default(),
            examples: [examples, documents(&config.join("olm/examples"), &[])?].concat(),
            base: serde_saphyr::from_str(&text("olm/base.yaml")?)
                .context("config/olm/base.yaml is not YAML")?,
            description: text("olm/description.md")?,
            icon: text("olm/icon.svg")?,
            kinds: serde_saphyr::from_str(&kinds)
                .context("config/olm/kinds.yaml is not what it should be")?,
        })
    }
}

/// All objects in the YAML files of a folder, in the order of the files' names.
fn documents(folder: &Path, without: &[&str]) -> Result<Vec<Value>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_manifest =
            path.extension().is_some_and(|extension| extension == "yaml") && name != "kustomization.yaml";
        if !is_manifest || without.contains(&name.as_str()) {
            continue;
        }
        objects.extend(documents_of(&path)?);
    }
    Ok(objects)
}

/// All objects in a YAML file.
fn documents_of(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut objects = Vec::new();
    for document in format!("\n{text}").split("\n---\n").filter(|document| says_something(document)) {
        let object: Value =
            serde_saphyr::from_str(document).with_context(|| format!("{} is not YAML", path.display()))?;
        ensure!(object["kind"].is_string(), "{} holds an object without kind", path.display());
        objects.push(object);
    }
    Ok(objects)
}

fn says_something(document: &str) -> bool {
    document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'))
}

/// The elements of a list; none where it is none.
pub(crate) fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// A text; an empty one where it is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
