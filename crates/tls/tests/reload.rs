//! A certificate that lies in files is exchanged as the files are.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tls::CertResolver;
use tokio::{sync::watch, time::timeout};

type Served = watch::Receiver<Option<tls::Certificate>>;

/// A folder of one test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tls-reload-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Writes a new certificate and its key, and says which certificate it is.
fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("the name is fine");
    fs::write(folder.join("tls.crt"), made.cert.pem()).expect("the folder is writable");
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).expect("the folder is writable");
    made.cert.der().clone()
}

/// A pair as the kubelet mounts a Secret: files that are links into a folder that is itself reached by a link.
fn mount(folder: &Path, version: &str) -> CertificateDer<'static> {
    fs::create_dir(folder.join(version)).expect("the folder is writable");
    let der = write_pair(&folder.join(version));
    symlink(version, folder.join("..data_tmp")).expect("the folder is writable");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("the folder is writable");
    for name in ["tls.crt", "tls.key"] {
        // They exist from the first mount on.
        symlink(format!("..data/{name}"), folder.join(name)).ok();
    }
    der
}

async fn becomes(served: &mut Served, expected: &CertificateDer<'static>) {
    let is_served = |served: &Option<tls::Certificate>| {
        served.as_ref().is_some_and(|certificate| certificate.chain() == [expected.clone()])
    };
    timeout(Duration::from_secs(20), served.wait_for(is_served))
        .await
        .expect("the new certificate is served within seconds")
        .expect("the resolver lives");
}

#[tokio::test]
async fn a_secret_that_is_mounted_anew_is_served() {
    let folder = Folder::new("secret");
    let first = mount(&folder.0, "..1");
    let resolver = CertResolver::from_directory(&folder.0).await.expect("the pair is good");
    let mut served = resolver.subscribe();
    becomes(&mut served, &first).await;
    for version in ["..2", "..3"] {
        let next = mount(&folder.0, version);
        becomes(&mut served, &next).await;
    }
}

#[tokio::test]
async fn files_that_are_written_in_place_are_served_once_they_are_a_pair() {
    let folder = Folder::new("files");
    let first = write_pair(&folder.0);
    let resolver = CertResolver::from_directory(&folder.0).await.expect("the pair is good");
    let mut served = resolver.subscribe();
    becomes(&mut served, &first).await;
    // Half of it is not a change.
    fs::write(folder.0.join("tls.crt"), "-----BEGIN").expect("the folder is writable");
    fs::remove_file(folder.0.join("tls.key")).expect("the folder is writable");
    assert_eq!(resolver.certificate().expect("there is one").chain(), [first]);
    let next = write_pair(&folder.0);
    served.changed().await.expect("the resolver lives");
    assert_eq!(resolver.certificate().expect("there is one").chain(), [next]);
}

#[tokio::test]
async fn a_folder_that_vanishes_with_its_parent_and_comes_back_is_read_again() {
    let folder = Folder::new("vanishing");
    let (parent, inner) = (folder.0.join("parent"), folder.0.join("parent/certs"));
    fs::create_dir_all(&inner).expect("the folder is writable");
    write_pair(&inner);
    let resolver = CertResolver::from_directory(&inner).await.expect("the pair is good");
    let mut served = resolver.subscribe();
    fs::remove_dir_all(&parent).expect("the folder is writable");
    fs::create_dir_all(&inner).expect("the folder is writable");
    let next = write_pair(&inner);
    becomes(&mut served, &next).await;
    // And it is watched again as before.
    let next = write_pair(&inner);
    becomes(&mut served, &next).await;
}

#[tokio::test]
async fn without_a_usable_pair_there_is_an_error_that_names_file_and_cure() {
    let folder = Folder::new("missing");
    let path = folder.0.display().to_string();
    let error = async || CertResolver::from_directory(&folder.0).await.expect_err("no pair").to_string();
    let text = error().await;
    assert!(text.starts_with(&format!("failed to read {path}/tls.crt: No such file")), "{text}");
    assert!(text.ends_with(&format!("; mount a Secret of type kubernetes.io/tls as {path}")), "{text}");
    write_pair(&folder.0);
    fs::write(folder.0.join("tls.key"), "").expect("the folder is writable");
    let text = error().await;
    assert!(
        text.starts_with(&format!("failed to use tls.crt and tls.key in {path}: the key cannot be read")),
        "{text}"
    );
}
