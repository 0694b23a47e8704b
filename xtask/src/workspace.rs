//! Where the project lies, and generated files in it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The top folder of the project.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask/ lies in the project's top folder").to_owned()
}

/// Writes a generated file, or with `check` fails where it is not what would be written.
pub(crate) fn generated(path: &Path, text: &str, command: &str, check: bool) -> Result<()> {
    let shown = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let current = fs::read_to_string(path).unwrap_or_default();
    if current == text {
        return Ok(());
    }
    if check {
        bail!("{shown} is out of date: run `cargo xtask {command}` and commit what it writes");
    }
    let folder = path.parent().expect("a generated file lies in a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {shown}"))?;
    println!("wrote {shown}");
    Ok(())
}
