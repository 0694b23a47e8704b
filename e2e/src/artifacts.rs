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
/// The least version of Go that builds it, as the module says.
const GO: (u32, u32) = (1, 26);
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

/// Builds and caches Kubernetes where it is not there yet.
pub fn build(progress: &Progress) -> Result<()> {
    let kube = kube(progress)?;
    progress.step(&format!("Kubernetes is {}", kube.display()));
    Ok(())
}

/// The folder of the Kubernetes binary while that is still to be built.
pub(crate) fn kube_to_build() -> Result<Option<PathBuf>> {
    let folder = kube_folder()?;
    Ok((!folder.join("kube").is_file()).then_some(folder))
}

fn kube_sources() -> PathBuf {
    workspace().join("e2e/kube")
}

fn kube_folder() -> Result<PathBuf> {
    Ok(cache()?.join("kube").join(fingerprint(&kube_sources())?))
}

/// The Kubernetes binary of e2e/kube: from the cache, or built into it. Takes some
/// ten minutes the first time. Two processes that want it at once build it once.
pub(crate) fn kube(progress: &Progress) -> Result<PathBuf> {
    let (sources, folder) = (kube_sources(), kube_folder()?);
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
    let mut command = Command::new(go()?);
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

/// The go that can build Kubernetes: the first that is new enough.
pub(crate) fn go() -> Result<PathBuf> {
    let cure = format!(
        "install Go {}.{} or later (https://go.dev/dl) in /usr/local/go or on the PATH; under sudo keep the PATH (`sudo env \"PATH=$PATH\" ...`)",
        GO.0, GO.1
    );
    let mut found = None;
    for path in places("go") {
        // The version of this very program, whatever a go.mod nearby asks for.
        let output = Command::new(&path).arg("version").env("GOTOOLCHAIN", "local").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        match text {
            Ok(text) if go_version(&text).is_some_and(|version| version >= GO) => return Ok(path),
            Ok(text) => {
                found.get_or_insert(format!("{} says {text:?}", path.display()));
            }
            Err(error) => {
                found.get_or_insert(format!("{} does not start: {error}", path.display()));
            }
        }
    }
    match found {
        Some(found) => bail!("Go is too old to build Kubernetes, {found}: {cure}"),
        None => bail!("go, which builds Kubernetes, is not there: {cure}"),
    }
}

/// Major and minor version in what `go version` prints: `go version go1.26.8 linux/amd64`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let version = text.strip_prefix("go version go")?.split([' ', '-']).next()?;
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Where a compiler of that name is: on the PATH first, then where it is usually installed.
fn places(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let homes = [env::var_os("HOME"), env::var("SUDO_USER").ok().map(|user| format!("/home/{user}").into())];
    let homes = homes.into_iter().flatten().flat_map(|home| {
        let home = PathBuf::from(home);
        [home.join(".cargo/bin"), home.join("go/bin"), home.join(".local/go/bin")]
    });
    let folders =
        env::split_paths(&path).chain(["/usr/local/go/bin".into(), "/usr/lib/go/bin".into()]).chain(homes);
    folders.map(|folder| folder.join(name)).filter(|path| path.is_file()).collect()
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
        assert!(module.contains(&format!("\ngo {}.{}.", GO.0, GO.1)), "{module}");
    }

    #[test]
    fn versions_of_go_are_compared_as_numbers() {
        for (text, version) in [
            ("go version go1.26.8 linux/amd64", Some((1, 26))),
            ("go version go1.27rc1 linux/amd64", Some((1, 27))),
            ("go version go1.9 linux/amd64", Some((1, 9))),
            ("go version go1.26-custom linux/arm64", Some((1, 26))),
            ("go version devel +abc", None),
            ("", None),
        ] {
            assert_eq!(go_version(text), version, "{text}");
        }
        assert!((1, 9) < GO);
    }

    #[test]
    fn a_cluster_without_the_sandbox_image_is_refused_with_the_cure() {
        let error = absolute(&["web.tar".into()]).expect_err("no pause image").to_string();
        assert!(error.contains("cargo xtask images"), "{error}");
    }
}
