//! A file-based catalog: which bundles there are, and which replaces which, as OLM reads it (`opm serve`).
//!
//! The manifests are part of it, so that OLM needs no image of a bundle: for tests, and for clusters without a registry
//! for bundles. `opm validate` takes it. A catalog of published bundle images is written by `opm render`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use crate::bundle::sources::{list, text};
use crate::bundle::{CHANNELS, PACKAGE};
use crate::workspace;

/// What `cargo xtask catalog` may be told.
#[derive(Args)]
pub(crate) struct Options {
    /// The folders of the bundles, as `cargo xtask bundle` writes them.
    #[arg(required = true)]
    bundles: Vec<PathBuf>,
    /// The folder to write catalog.yaml into.
    #[arg(long, default_value = "build/catalog")]
    out: PathBuf,
}

/// Writes the catalog.
pub(crate) fn run(options: &Options) -> Result<()> {
    let bundles = options.bundles.iter().map(|folder| manifests(&workspace::root().join(folder)));
    let catalog = catalog(&bundles.collect::<Result<Vec<_>>>()?)?;
    let documents = catalog.iter().map(|document| {
        let text = serde_saphyr::to_string(document).context("a part of the catalog is not YAML")?;
        Ok(format!("---\n{text}"))
    });
    let text = documents.collect::<Result<Vec<_>>>()?.concat();
    workspace::generated(&workspace::root().join(&options.out).join("catalog.yaml"), &text, "catalog", false)
}

/// The objects of a bundle.
fn manifests(bundle: &Path) -> Result<Vec<Value>> {
    let folder = bundle.join("manifests");
    let entries = fs::read_dir(&folder).with_context(|| {
        format!("{} is no bundle: `cargo xtask bundle --out` writes one", bundle.display())
    })?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    let objects = paths.iter().map(|path| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))
    });
    objects.collect()
}

/// The documents of the catalog: the package, its channels, the bundles.
fn catalog(bundles: &[Vec<Value>]) -> Result<Vec<Value>> {
    let csvs: Vec<&Value> = bundles.iter().map(|objects| csv(objects)).collect::<Result<_>>()?;
    let names: BTreeMap<&str, &Value> =
        csvs.iter().map(|csv| (text(&csv["metadata"]["name"]), *csv)).collect();
    ensure!(names.len() == csvs.len(), "two of the bundles have the same version");
    let mut replaced = BTreeSet::new();
    let mut entries = Vec::new();
    for csv in &csvs {
        let mut entry = json!({"name": csv["metadata"]["name"]});
        let skip_range = &csv["metadata"]["annotations"]["olm.skipRange"];
        if skip_range.is_string() {
            entry["skipRange"] = skip_range.clone();
        }
        let older = text(&csv["spec"]["replaces"]);
        // One that is not in the catalog cannot be installed from it, and may be replaced all the same.
        if !older.is_empty() {
            entry["replaces"] = older.into();
            replaced.insert(older);
        }
        entries.push(entry);
    }
    let heads: Vec<&&str> = names.keys().filter(|name| !replaced.contains(**name)).collect();
    ensure!(
        heads.len() == 1,
        "one bundle should be replaced by no other, and {heads:?} are: say what each replaces with `cargo xtask bundle \
         --replaces`"
    );
    let head = names[heads[0]];
    let mut documents = vec![json!({
        "schema": "olm.package",
        "name": PACKAGE,
        "defaultChannel": CHANNELS[0],
        "description": head["spec"]["description"],
        "icon": {"base64data": head["spec"]["icon"][0]["base64data"], "mediatype": head["spec"]["icon"][0]["mediatype"]},
    })];
    documents.extend(CHANNELS.map(
        |channel| json!({"schema": "olm.channel", "package": PACKAGE, "name": channel, "entries": entries}),
    ));
    documents.extend(bundles.iter().zip(csvs).map(|(objects, csv)| bundle(objects, csv)));
    Ok(documents)
}

fn csv(objects: &[Value]) -> Result<&Value> {
    let csv = objects.iter().find(|object| object["kind"] == "ClusterServiceVersion");
    csv.context("a bundle has no ClusterServiceVersion: `cargo xtask bundle --out` writes one")
}

fn bundle(objects: &[Value], csv: &Value) -> Value {
    let package = json!({"packageName": PACKAGE, "version": csv["spec"]["version"]});
    let mut properties = vec![json!({"type": "olm.package", "value": package})];
    for owned in list(&csv["spec"]["customresourcedefinitions"]["owned"]) {
        let (_, group) = text(&owned["name"]).split_once('.').unwrap_or_default();
        let gvk = json!({"group": group, "kind": owned["kind"], "version": owned["version"]});
        properties.push(json!({"type": "olm.gvk", "value": gvk}));
    }
    for object in objects {
        let value = json!({"data": STANDARD.encode(object.to_string())});
        properties.push(json!({"type": "olm.bundle.object", "value": value}));
    }
    json!({
        "schema": "olm.bundle",
        "package": PACKAGE,
        "name": csv["metadata"]["name"],
        // The manifests are here, and are not fetched.
        "image": "",
        "properties": properties,
        "relatedImages": csv["spec"]["relatedImages"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv_of(version: &str, replaces: Option<&str>) -> Vec<Value> {
        vec![json!({
            "kind": "ClusterServiceVersion",
            "metadata": {"name": format!("metallb-operator.v{version}"), "annotations": {"olm.skipRange": "<1.0.0"}},
            "spec": {
                "version": version,
                "replaces": replaces.map(|version| format!("metallb-operator.v{version}")),
                "customresourcedefinitions": {"owned": [{"name": "as.metallb.io", "kind": "A", "version": "v1"}]},
            },
        })]
    }

    #[test]
    fn the_newer_version_replaces_the_older_one_in_every_channel() {
        let catalog = catalog(&[csv_of("1.0.0", None), csv_of("1.1.0", Some("1.0.0"))]).expect("a catalog");
        let channels: Vec<&Value> =
            catalog.iter().filter(|document| document["schema"] == "olm.channel").collect();
        assert_eq!(channels.len(), 2);
        for channel in channels {
            assert_eq!(
                channel["entries"],
                json!([
                    {"name": "metallb-operator.v1.0.0", "skipRange": "<1.0.0"},
                    {"name": "metallb-operator.v1.1.0", "skipRange": "<1.0.0", "replaces": "metallb-operator.v1.0.0"},
                ])
            );
        }
        let bundle = catalog.last().expect("a bundle");
        let gvk = json!({"type": "olm.gvk", "value": {"group": "metallb.io", "kind": "A", "version": "v1"}});
        assert!(list(&bundle["properties"]).contains(&gvk), "{bundle}");
    }

    #[test]
    fn bundles_that_no_edge_connects_are_refused() {
        let error =
            catalog(&[csv_of("1.0.0", None), csv_of("1.1.0", None)]).expect_err("two heads").to_string();
        assert!(error.contains("v1.0.0") && error.contains("--replaces"), "{error}");
        let error = catalog(&[csv_of("1.0.0", None), csv_of("1.0.0", None)]).expect_err("twice").to_string();
        assert_eq!(error, "two of the bundles have the same version");
    }
}
