//! What a cluster is made of: the Kubernetes binary, built once and cached, and the
//! images of the tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{go::Module, progress::Progress};

/// Kubernetes' version, as the binary reports it: major, minor, patch. The module
/// e2e/kube requires the same.
const VERSION: (&str, &str, &str) = ("1", "36", "3");

/// The root of the workspace that this program was built in.
pub(crate) fn workspace() -> PathBuf {
    let e2e = Path::new(env!("CARGO_MANIFEST_DIR"));
    e2e.parent().unwrap_or(e2e).to_owned()
}

/// `metallb-rs` in the user's cache folder.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME says where caches go: set one"),
    };
    Ok(base.join("metallb-rs"))
}

/// The `e2e` program, for test programs that are not it: from `E2E_PROGRAM`, this very
/// program, or the one that cargo built beside it.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("E2E_PROGRAM") {
        return Ok(path.into());
    }
    let own = env::current_exe().context("finding this program")?;
    if own.file_name().is_some_and(|name| name == "e2e") {
        return Ok(own);
    }
    // A test is target/PROFILE/deps/NAME-HASH, the program target/PROFILE/e2e.
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("e2e"));
    beside.into_iter().find(|path| path.is_file()).with_context(|| {
        format!(
            "there is no program e2e near {}: build it (`cargo build -p e2e`) or set E2E_PROGRAM",
            own.display()
        )
    })
}

/// The image archives of `build/images`, by name.
pub fn test_images() -> Vec<PathBuf> {
    let mut images: Vec<PathBuf> = fs::read_dir(workspace().join("build/images"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    images.sort();
    images
}

/// The same paths, independent of the working folder. Fails for one that is not there.
pub(crate) fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !paths.iter().any(|path| path.file_stem().is_some_and(|stem| stem == "pause")) {
        bail!(
            "no image pause.tar is to be loaded, and every Pod needs it: `cargo xtask images` writes build/images/"
        );
    }
    paths
        .iter()
        .map(|path| {
            path.canonicalize()
                .with_context(|| format!("image {}: `cargo xtask images` writes it", path.display()))
        })
        .collect()
}

/// Builds and caches Kubernetes where it is not there yet.
pub fn build(progress: &Progress) -> Result<()> {
    let kube = kube(progress)?;
    progress.step(&format!("Kubernetes is {}", kube.display()));
    Ok(())
}

/// Kubernetes in one binary.
pub(crate) fn kubernetes() -> Module {
    let (major, minor, patch) = VERSION;
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion=v{major}.{minor}.{patch} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    );
    Module {
        what: "Kubernetes (about 10 minutes",
        folder: "kube",
        sources: &["go.mod", "go.sum", "main.go"],
        salt: format!("{VERSION:?}"),
        arguments: vec!["-ldflags".to_owned(), flags],
        environment: &[],
        packages: &["."],
        programs: &["kube"],
    }
}

/// The Kubernetes binary of e2e/kube.
pub(crate) fn kube(progress: &Progress) -> Result<PathBuf> {
    Ok(kubernetes().built(progress)?.join("kube"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_requires_the_version_that_the_binary_reports() {
        let (major, minor, patch) = VERSION;
        let module = fs::read_to_string(workspace().join("e2e/kube/go.mod")).expect("the module is there");
        assert!(module.contains(&format!("k8s.io/kubernetes v{major}.{minor}.{patch}")));
    }

    #[test]
    fn a_cluster_without_the_sandbox_image_is_refused_with_the_cure() {
        let error = absolute(&["web.tar".into()]).expect_err("no pause image").to_string();
        assert!(error.contains("cargo xtask images"), "{error}");
    }
}
