//! A certificate that lies in files.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::{Certificate, CertificateError, watch::Watch};

/// The file with the chain, in a folder with a certificate.
pub const CERTIFICATE_FILE: &str = "tls.crt";

/// The file with the key, in a folder with a certificate.
pub const KEY_FILE: &str = "tls.key";

/// Why a folder gives no certificate.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// A file cannot be read.
    #[error("failed to read {path}: {source}; mount a Secret of type kubernetes.io/tls as {}", folder.display())]
    Read {
        /// The folder.
        folder: PathBuf,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The files are there and are not what they should be.
    #[error("failed to use {CERTIFICATE_FILE} and {KEY_FILE} in {}: {source}", folder.display())]
    Content {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// The kernel gives no notice of changes.
    #[error(
        "failed to watch {}: {source}; if the node is short of watches, raise fs.inotify.max_user_instances and fs.inotify.max_user_watches", folder.display()
    )]
    Watch {
        /// The folder.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Loads what the folder has now; the future that it gives keeps `current` up to date.
pub(crate) async fn follow(
    folder: &Path,
    current: watch::Sender<Option<Certificate>>,
) -> Result<impl Future<Output = ()> + use<>, DirectoryError> {
    let folder = folder.to_owned();
    // First the watch, then the files: so no change can fall between the two.
    let watch =
        Watch::new(&folder).map_err(|source| DirectoryError::Watch { folder: folder.clone(), source })?;
    current.send_replace(Some(load(&folder).await?));
    Ok(async move {
        let mut last_failure = None;
        loop {
            if let Err(source) = watch.changed().await {
                let stopped = DirectoryError::Watch { folder, source };
                error!(error = %stopped, "the certificate that is served stays as it is until this program restarts");
                return;
            }
            match load(&folder).await {
                Ok(loaded) => {
                    last_failure = None;
                    // The key of a chain that is the same is the same too.
                    let is_new = |old: &Option<Certificate>| {
                        old.as_ref().is_none_or(|old| old.chain() != loaded.chain())
                    };
                    if current.send_if_modified(|served| {
                        let replaced = is_new(served);
                        if replaced {
                            *served = Some(loaded.clone());
                        }
                        replaced
                    }) {
                        info!(folder = %folder.display(), "a new certificate is served from now on");
                    }
                }
                Err(failure) => {
                    let text = failure.to_string();
                    if last_failure.as_ref() != Some(&text) {
                        warn!(
                            error = text,
                            "the certificate loaded before stays in use until its files change again"
                        );
                        last_failure = Some(text);
                    }
                }
            }
        }
    })
}

async fn load(folder: &Path) -> Result<Certificate, DirectoryError> {
    let chain = read(folder, CERTIFICATE_FILE).await?;
    let key = read(folder, KEY_FILE).await?;
    Certificate::from_pem(&chain, &key)
        .map_err(|source| DirectoryError::Content { folder: folder.to_owned(), source })
}

async fn read(folder: &Path, name: &str) -> Result<Vec<u8>, DirectoryError> {
    let path = folder.join(name);
    tokio::fs::read(&path).await.map_err(|source| DirectoryError::Read {
        folder: folder.to_owned(),
        path,
        source,
    })
}
