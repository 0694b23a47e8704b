//! The bundle before those who judge it for catalogs: the validators of operator-sdk, and `opm`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Suite, VERSIONS, bundle_of, catalog};

/// The Kubernetes for whose removed APIs the manifests are searched.
const KUBERNETES: &str = "1.36";
const CSV: &str = "manifests/metallb-operator.clusterserviceversion.yaml";
const ANNOTATIONS: &str = "metadata/annotations.yaml";
const COMMUNITIES: &str = "manifests/metallb.io_communities.yaml";

/// What the validators say, and whether they let the bundle pass.
fn judge(suite: &Suite, bundle: &Path) -> Result<(String, bool)> {
    let output = Command::new(suite.programs.program("validate"))
        .arg(bundle)
        .arg(KUBERNETES)
        .output()
        .context("starting the validators")?;
    ensure!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

pub(crate) fn the_validators_find_nothing_to_say(suite: &Suite) -> Result<()> {
    for version in VERSIONS {
        let (said, passed) = judge(suite, &bundle_of(version))?;
        ensure!(passed && said.is_empty(), "of version {version}:\n{said}");
    }
    Ok(())
}

pub(crate) fn the_catalog_is_valid(suite: &Suite) -> Result<()> {
    let output = Command::new(suite.programs.program("opm")).arg("validate").arg(catalog()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A change to a file of the bundle, and what a validator says of it: part of a line.
type Fault = (&'static str, fn(&mut Value), &'static str);

const FAULTS: [Fault; 18] = [
    (CSV, |csv| csv["metadata"]["name"] = "Operator".into(), "error csv"),
    (CSV, |csv| csv["metadata"]["annotations"]["alm-examples"] = "{".into(), "error csv"),
    (CSV, |csv| csv["spec"]["installModes"] = json!([]), "error csv"),
    (CSV, |csv| csv["spec"]["installModes"][0]["supported"] = true.into(), "error csv"),
    (CSV, |csv| csv["spec"]["minKubeVersion"] = "soon".into(), "MinKubeVersion has an invalid value"),
    (
        CSV,
        |csv| owned(csv)["name"] = "others.metallb.io".into(),
        "owned CRD others.metallb.io/v1beta1 not found",
    ),
    (CSV, |csv| csv["spec"]["provider"] = json!({}), "error operatorhub"),
    (CSV, |csv| csv["spec"]["maintainers"][0]["email"] = "nobody".into(), "error operatorhub"),
    (CSV, |csv| csv["spec"]["links"][0]["url"] = "nowhere".into(), "error operatorhub"),
    (CSV, |csv| csv["spec"]["icon"][0]["mediatype"] = "text/plain".into(), "error operatorhub"),
    (CSV, |csv| csv["metadata"]["annotations"]["capabilities"] = "Magic".into(), "error capabilities"),
    (CSV, |csv| csv["metadata"]["annotations"]["categories"] = "Music".into(), "error categories"),
    (CSV, |csv| drop(owned(csv)["description"].take()), "warning good-practices"),
    (
        "manifests/metallb.io_ipaddresspools.yaml",
        |crd| crd["spec"]["names"]["plural"] = "others".into(),
        "error crd",
    ),
    // APIs that Kubernetes has no more, which some catalogs refuse and others only name.
    (COMMUNITIES, outdated, "error alpha-deprecated-apis"),
    (COMMUNITIES, outdated, "error community"),
    (COMMUNITIES, |crd| crd["kind"] = "Deployment".into(), "error content"),
    (
        ANNOTATIONS,
        |metadata| {
            let key = "operators.operatorframework.io.bundle.mediatype.v1";
            metadata["annotations"][key] = "helm".into();
        },
        "error format",
    ),
];

fn outdated(crd: &mut Value) {
    crd["apiVersion"] = "apiextensions.k8s.io/v1beta1".into();
}

fn owned(csv: &mut Value) -> &mut Value {
    &mut csv["spec"]["customresourcedefinitions"]["owned"][0]
}

pub(crate) fn each_fault_of_a_bundle_turns_a_validator_red(suite: &Suite) -> Result<()> {
    let sound = bundle_of(VERSIONS[0]);
    let broken = sound.with_file_name("broken");
    let mut unnoticed = Vec::new();
    for (number, (path, plant, expected)) in FAULTS.into_iter().enumerate() {
        copy(&sound, &broken)?;
        let file = broken.join(path);
        let mut object: Value = serde_saphyr::from_str(&fs::read_to_string(&file)?)?;
        plant(&mut object);
        fs::write(&file, serde_saphyr::to_string(&object)?)?;
        let (said, passed) = judge(suite, &broken)?;
        let is_red = !passed || expected.starts_with("warning");
        if !is_red || !said.lines().any(|line| line.contains(expected)) {
            unnoticed.push(format!("fault {number} ({expected}): the validators say {said:?}"));
        }
    }
    fs::remove_dir_all(&broken).context("removing the broken bundle")?;
    ensure!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
    Ok(())
}

/// Copies a folder over whatever is there.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target: PathBuf = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() { copy(&path, &target)? } else { fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}
