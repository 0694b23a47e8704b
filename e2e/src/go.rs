//! Programs in Go that the tests need and that no package has: built once from modules of this crate, and cached by
//! what they are made of.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{
    artifacts::{cache, workspace},
    preflight,
    progress::Progress,
};

/// The least version of Go that builds them, as the modules say.
const GO: (u32, u32) = (1, 26);

/// A module of Go, and the programs that are built of it.
pub(crate) struct Module {
    /// What the programs are, for messages, and how long building them takes.
    pub(crate) what: &'static str,
    /// The module's folder in `e2e/`, and that of the programs in the cache.
    pub(crate) folder: &'static str,
    /// The files in it that decide what the programs are.
    pub(crate) sources: &'static [&'static str],
    /// What else decides it: another value here builds them anew.
    pub(crate) salt: String,
    /// Arguments of `go build`.
    pub(crate) arguments: Vec<String>,
    /// What is set in its environment.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// The packages to build.
    pub(crate) packages: &'static [&'static str],
    /// The programs that come of them: the last parts of the packages' names.
    pub(crate) programs: &'static [&'static str],
}

impl Module {
    fn path(&self) -> PathBuf {
        workspace().join("e2e").join(self.folder)
    }

    /// The folder of the programs while they are still to be built.
    pub(crate) fn to_build(&self) -> Result<Option<PathBuf>> {
        let folder = self.built_folder()?;
        Ok((!self.is_in(&folder)).then_some(folder))
    }

    fn built_folder(&self) -> Result<PathBuf> {
        Ok(cache()?.join(self.folder).join(self.fingerprint(&self.path())?))
    }

    fn is_in(&self, folder: &Path) -> bool {
        self.programs.iter().all(|program| folder.join(program).is_file())
    }

    /// The folder of the programs: from the cache, or built into it. Two processes that want them at once build them
    /// once.
    pub(crate) fn built(&self, progress: &Progress) -> Result<PathBuf> {
        let folder = self.built_folder()?;
        if self.is_in(&folder) {
            return Ok(folder);
        }
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("creating the build lock")?;
        if lock.try_lock().is_err() {
            let wait = format!("another process builds {}", self.what);
            progress.during(&wait, || lock.lock()).context("locking the build")?;
        }
        if self.is_in(&folder) {
            return Ok(folder);
        }
        preflight::space(&folder, preflight::BUILD_MEGABYTES)?;
        let unfinished = folder.join("unfinished");
        fs::create_dir_all(&unfinished).with_context(|| format!("creating {}", unfinished.display()))?;
        let mut command = Command::new(go()?);
        command
            .args(["build", "-mod=readonly", "-trimpath"])
            .args(&self.arguments)
            .arg("-o")
            .arg(&unfinished)
            .args(self.packages)
            .current_dir(self.path())
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::inherit());
        let what = format!("building {} the first time, then never again)", self.what);
        let status = progress.during(&what, || command.status()).context("starting go")?;
        if !status.success() {
            bail!("building in {} failed ({status}): see go's messages above", self.path().display());
        }
        for program in self.programs {
            fs::rename(unfinished.join(program), folder.join(program))
                .with_context(|| format!("keeping {program} in {}", folder.display()))?;
        }
        fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
        Ok(folder)
    }

    /// The first 16 hexadecimal digits of the hash of everything that decides the programs.
    fn fingerprint(&self, sources: &Path) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(&self.salt);
        for name in self.sources {
            let path = sources.join(name);
            let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            hash.update(format!("{name} {}\n", text.len()));
            hash.update(text);
        }
        Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The go that can build the programs: the first that is new enough.
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
        Some(found) => bail!("Go is too old to build what the tests need, {found}: {cure}"),
        None => bail!("go, which builds what the tests need, is not there: {cure}"),
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

    fn module() -> Module {
        Module {
            what: "a test",
            folder: "test",
            sources: &["go.mod", "main.go"],
            salt: "1".to_owned(),
            arguments: Vec::new(),
            environment: &[],
            packages: &["."],
            programs: &["test"],
        }
    }

    #[test]
    fn programs_are_named_after_what_they_are_made_of_only() {
        let folder = env::temp_dir().join(format!("e2e-fingerprint-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let module = module();
        for name in module.sources {
            fs::write(folder.join(name), name).expect("writable");
        }
        let first = module.fingerprint(&folder).expect("all sources are there");
        fs::write(folder.join("notes.txt"), "not a source").expect("writable");
        assert_eq!(module.fingerprint(&folder).expect("unchanged"), first);
        let other = Module { salt: "2".to_owned(), ..self::module() };
        assert_ne!(other.fingerprint(&folder).expect("another salt"), first);
        fs::write(folder.join("main.go"), "package other").expect("writable");
        assert_ne!(module.fingerprint(&folder).expect("changed"), first);
        assert_eq!(first.len(), 16);
        fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn every_module_asks_for_the_go_that_is_looked_for() {
        for folder in ["kube", "olm", "helm"] {
            let module = workspace().join("e2e").join(folder).join("go.mod");
            let module = fs::read_to_string(module).expect("the module is there");
            assert!(module.contains(&format!("\ngo {}.{}.", GO.0, GO.1)), "{folder}: {module}");
        }
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
}
