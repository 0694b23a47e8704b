//! What a cluster is made of: the Kubernetes binary, built once and cached, and the
//! images of the tests.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{preflight, progress::Progress};

/// Kubernetes' version, as the binary reports it: major, minor, patch. The module
/// e2e/kube requires the same.
const VERSION: (&str, &str, &str) = ("1", "36", "3");
/// The sources that decide what the binary is.
const SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// The root of the workspace that this program was built in.
pub(crate) fn workspace() -> PathBuf {
    let e2e = Path::new(env!("CARGO_MANIFEST_DIR"));
    e2e.parent().unwrap_or(e2e).to_owned()
}

/// `metallb-rs` in the user's cache folder.
fn cache() -> Result<PathBuf> {
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

/// Builds and caches everything that a cluster needs and that is not there yet.
pub fn build(progress: &Progress) -> Result<()> {
    let kube = kube(progress)?;
    progress.step(&format!("Kubernetes is {}", kube.display()));
    let mut command = Command::new(tool("cargo")?);
    // The variables of the cargo that runs us are about us, not about xtask.
    command.args(["xtask", "images"]).current_dir(workspace()).env_remove("CARGO_MANIFEST_DIR");
    let status = progress.during("building the images", || command.status()).context("starting cargo")?;
    if !status.success() {
        bail!("`cargo xtask images` failed ({status})");
    }
    Ok(())
}

/// The Kubernetes binary of e2e/kube: from the cache, or built into it. Takes some
/// ten minutes the first time. Two processes that want it at once build it once.
pub(crate) fn kube(progress: &Progress) -> Result<PathBuf> {
    let sources = workspace().join("e2e/kube");
    let folder = cache()?.join("kube").join(fingerprint(&sources)?);
    let binary = folder.join("kube");
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("creating the build lock")?;
    if lock.try_lock().is_err() {
        progress.during("another process builds Kubernetes", || lock.lock()).context("locking the build")?;
    }
    if binary.is_file() {
        return Ok(binary);
    }
    preflight::space(&folder, preflight::BUILD_MEGABYTES)?;
    let unfinished = folder.join("kube.unfinished");
    let (major, minor, patch) = VERSION;
    let package = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {package}.gitVersion=v{major}.{minor}.{patch} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    );
    let mut command = Command::new(tool("go")?);
    command
        .args(["build", "-mod=readonly", "-trimpath", "-ldflags", &flags, "-o"])
        .arg(&unfinished)
        .arg(".")
        .current_dir(&sources)
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::inherit());
    let what = "building Kubernetes (about 10 minutes the first time, then never again)";
    let status = progress.during(what, || command.status()).context("starting go")?;
    if !status.success() {
        bail!("building Kubernetes in {} failed ({status}): see go's messages above", sources.display());
    }
    fs::rename(&unfinished, &binary).with_context(|| format!("keeping {}", binary.display()))?;
    Ok(binary)
}

/// The first 16 hexadecimal digits of the hash of everything that decides the binary.
fn fingerprint(sources: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{VERSION:?}"));
    for name in SOURCES {
        let path = sources.join(name);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        hash.update(format!("{name} {}\n", text.len()));
        hash.update(text);
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// A compiler, also where `sudo` has shortened the PATH.
fn tool(name: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let homes = [env::var_os("HOME"), env::var("SUDO_USER").ok().map(|user| format!("/home/{user}").into())];
    let homes = homes.into_iter().flatten().flat_map(|home| {
        let home = PathBuf::from(home);
        [home.join(".cargo/bin"), home.join("go/bin"), home.join(".local/go/bin")]
    });
    let places =
        env::split_paths(&path).chain(["/usr/local/go/bin".into(), "/usr/lib/go/bin".into()]).chain(homes);
    places.map(|place| place.join(name)).find(|path| path.is_file()).with_context(|| {
        format!("{name} is not on the PATH: install it, or under sudo keep the PATH (`sudo env \"PATH=$PATH\" ...`)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_named_after_its_sources_only() {
        let folder = env::temp_dir().join(format!("e2e-fingerprint-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        for name in SOURCES {
            fs::write(folder.join(name), name).expect("writable");
        }
        let first = fingerprint(&folder).expect("all sources are there");
        fs::write(folder.join("notes.txt"), "not a source").expect("writable");
        assert_eq!(fingerprint(&folder).expect("unchanged"), first);
        fs::write(folder.join("main.go"), "package other").expect("writable");
        assert_ne!(fingerprint(&folder).expect("changed"), first);
        assert_eq!(first.len(), 16);
        fs::remove_dir_all(&folder).expect("ours");
    }

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
