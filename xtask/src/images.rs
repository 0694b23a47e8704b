//! Images without a daemon: static binaries in OCI layout tars, the same bytes for the same sources.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::workspace;

/// The target for which static programs are built. Named although it is the machine's own, so that flags
/// for the programs do not reach build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// An image: a package's program at the root of an otherwise empty file system.
struct Image {
    /// The name of the program, of the file in the image and of the image.
    program: &'static str,
    package: &'static str,
    /// Who runs it, as `uid:gid`.
    user: &'static str,
}

/// The images in the order in which they are written.
const IMAGES: [Image; 5] = [
    Image { program: "operator", package: "operator", user: "65534:65534" },
    Image { program: "controller", package: "controller", user: "65534:65534" },
    Image { program: "speaker", package: "speaker", user: "0:0" },
    Image { program: "web", package: "e2e", user: "65534:65534" },
    Image { program: "pause", package: "e2e", user: "65534:65534" },
];

/// What `cargo xtask images` may be told.
#[derive(Args)]
pub(crate) struct Options {
    /// The registry and path before the images' names.
    #[arg(long, default_value = "metallb-rs.test")]
    registry: String,
    /// The images' tag.
    #[arg(long, default_value = "dev")]
    tag: String,
    /// Compile in a fraction of the time, for trying a change out: the programs are larger and slower.
    #[arg(long)]
    quick: bool,
}

/// Builds the programs and writes `build/images/NAME.tar` for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let machine = std::env::consts::ARCH;
    ensure!(
        machine == "x86_64",
        "images are built for x86_64 by a machine of that kind and this is {machine}: run this on an x86_64 machine"
    );
    let binaries = build(if options.quick { "quick" } else { "release" })?;
    let folder = workspace::root().join("build/images");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for image in &IMAGES {
        let path = binaries.join(image.program);
        let binary = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = format!("{}/{}:{}", options.registry, image.program, options.tag);
        let (archive, digest) = oci_archive(image.program, image.user, &name, &binary)?;
        replace(&folder.join(format!("{}.tar", image.program)), &archive)?;
        println!("{name} sha256:{digest} {:.1} MB", megabytes(archive.len()));
    }
    Ok(())
}

/// Compiles every program statically; the folder that holds them.
fn build(profile: &str) -> Result<std::path::PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace::root()).args([
        "build",
        "--profile",
        profile,
        "--locked",
        "--target",
        TARGET,
    ]);
    for image in &IMAGES {
        command.args(["--package", image.package, "--bin", image.program]);
    }
    // The flags name nothing of the checkout, so that every checkout builds the same bytes and may share
    // what was compiled; the sources of dependencies lie where the machine's cargo keeps them.
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .context("neither CARGO_HOME nor HOME says where cargo keeps its sources")?;
    command.env("RUSTFLAGS", format!("-C target-feature=+crt-static --remap-path-prefix={home}=/cargo"));
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the programs do not compile (see above)");
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), Into::into);
    Ok(folder.join(TARGET).join(profile))
}

/// An image of one file as an OCI layout in a tar (image-spec v1.1, image-layout.md), and the digest of its
/// manifest.
fn oci_archive(program: &str, user: &str, name: &str, binary: &[u8]) -> Result<(Vec<u8>, String)> {
    let layer = tar_of(&[(program.to_owned(), 0o755, binary)])?;
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [format!("/{program}")], "User": user, "WorkingDir": "/"},
        // Uncompressed, so that the layer's digest is also that of its content.
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
    }))?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit_once(':').map_or(name, |(_, tag)| tag),
    });
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let blob = |content: &[u8]| format!("blobs/sha256/{}", sha256(content));
    let archive = tar_of(&[
        (blob(&config), 0o644, &config),
        (blob(&layer), 0o644, &layer),
        (blob(&manifest), 0o644, &manifest),
        ("index.json".to_owned(), 0o644, &index),
        ("oci-layout".to_owned(), 0o644, layout),
    ])?;
    Ok((archive, sha256(&manifest)))
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", sha256(content)), "size": content.len()})
}

/// A tar of plain files that belong to root and to no point in time.
fn tar_of(files: &[(String, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(content.len())?);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, path, *content)?;
    }
    Ok(builder.into_inner()?)
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file at once: whoever reads it sees the old or the new content.
fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let partial = path.with_extension("tar.partial");
    let mut file =
        fs::File::create(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
    file.write_all(content).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "a size to show")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("content");
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn the_same_program_gives_the_same_bytes() {
        let one = oci_archive("web", "0:0", "r/web:dev", b"program").expect("an archive");
        let two = oci_archive("web", "0:0", "r/web:dev", b"program").expect("an archive");
        assert_eq!(one, two);
        let other = oci_archive("web", "0:0", "r/web:dev", b"programme").expect("an archive");
        assert_ne!(one.1, other.1);
    }

    #[test]
    fn every_blob_has_the_digest_and_size_by_which_it_is_named() {
        let (archive, digest) = oci_archive("web", "0:0", "r/web:dev", b"program").expect("an archive");
        let files = unpack(&archive);
        for (path, content) in &files {
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(name, sha256(content));
            }
        }
        let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
        assert_eq!(index["manifests"][0]["digest"], format!("sha256:{digest}"));
        let manifest: Value =
            serde_json::from_slice(&files[&format!("blobs/sha256/{digest}")]).expect("JSON");
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let digest = part["digest"].as_str().and_then(|d| d.strip_prefix("sha256:")).expect("a digest");
            let blob = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(part["size"], blob.len());
        }
        let layer =
            manifest["layers"][0]["digest"].as_str().expect("a digest").replace("sha256:", "blobs/sha256/");
        assert_eq!(unpack(&files[&layer])["web"], b"program");
    }
}
