//! How to reach the API server.

use std::time::Duration;

use kube::{Client, Config};
use thiserror::Error;

/// A connection that is not made by then is tried anew. kube's own 30 s would let a server whose packets are
/// dropped look away for half a minute after its return.
const CONNECT: Duration = Duration::from_secs(5);

/// Silence on a connection after which it is dead. Longer than every watch of ours ([`crate::watch_config`]) and
/// than the minute between the server's bookmarks, so that it never ends a healthy watch.
const SILENCE: Duration = Duration::from_secs(90);

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Neither a kubeconfig nor a Pod's service account was found.
    #[error("failed to find the API server: {0}; run in a Pod with a service account, or set KUBECONFIG")]
    Config(#[source] kube::config::InferConfigError),
    /// The configuration that was found cannot be used.
    #[error(
        "failed to set up the connection to the API server at {url}: {source}; check the kubeconfig or the service account's files"
    )]
    Setup {
        /// The API server's address.
        url: String,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// A client for the API server that `KUBECONFIG`, else `~/.kube/config`, else the Pod's service account names.
///
/// Installs ring as the process's rustls provider (the first caller wins, later calls change nothing).
/// Sends no request: a server that is away is no error here. A reply of 429, 503 or 504 goes to the caller, who
/// retries with a short pause; kube's own retry would by then wait a minute between attempts.
pub async fn client() -> Result<Client, ClientError> {
    // An error means that a provider is installed already, and any will do.
    rustls::crypto::ring::default_provider().install_default().ok();
    connect(Config::infer().await.map_err(ClientError::Config)?)
}

fn connect(mut config: Config) -> Result<Client, ClientError> {
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ClientError::Setup { url, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config::new(url.parse().expect("a URL"))
    }

    #[tokio::test]
    async fn a_client_is_made_although_no_server_listens() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = connect(config("https://127.0.0.1:1")).expect("making a client asks nobody");
        client.apiserver_version().await.expect_err("nobody listens on port 1");
    }

    #[tokio::test]
    async fn a_configuration_that_cannot_work_is_named_with_what_to_do() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut config = config("https://127.0.0.1:1");
        config.root_cert = Some(vec![b"no certificate".to_vec()]);
        let error = connect(config).err().expect("such a certificate is refused").to_string();
        assert!(
            error.starts_with("failed to set up the connection to the API server at https://127.0.0.1:1/: "),
            "{error}"
        );
        assert!(error.ends_with("; check the kubeconfig or the service account's files"), "{error}");
    }
}
