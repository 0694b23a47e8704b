//! The webhooks: whether resources of metallb.io may be stored, and BGPPeers in their other version.
//!
//! ```text
//! watches ──▶ view ──▶ Snapshot ─────┐
//! API server ──AdmissionReview──▶ judge ──▶ Decision
//!            ──ConversionReview─▶ api::convert_bgp_peer
//! ```

mod judge;
mod metallb;
mod view;

use std::path::Path;
use std::sync::Arc;

use config::Resources;
use kube::Client;
use tls::CertResolver;
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tracing::info;
use webhook::{Readiness, RotationConfig, RotationPolicy, Routes, Server, ServerConfig, Target, rotate};

use crate::args::{Args, everywhere};
use crate::secret;
use judge::Reviewed;
use view::{Latest, Snapshot, View};

/// The port of the webhooks, known to every Service that leads to them.
const PORT: u16 = 9443;
/// Where the CA of our certificate has to be trusted.
const CONFIGURATION: &str = "metallb-webhook-configuration";
const CONVERTED: &str = "bgppeers.metallb.io";

/// Webhooks that are served.
pub(crate) struct Webhooks {
    /// What hinders them, each until it does not.
    pub(crate) hindrances: Vec<channel::Receiver<Option<String>>>,
    /// Dropped, or sent something, they end, after the answers that are being worked on.
    pub(crate) stop: channel::Sender<bool>,
    /// Ends with them.
    pub(crate) task: JoinHandle<()>,
}

/// Begins to serve them. Fails where the port is taken, or where `--cert-dir` has no certificate.
pub(crate) async fn serve(args: &Args, client: &Client, namespace: &str) -> anyhow::Result<Webhooks> {
    let options = &args.webhook;
    let mut hindrances = Vec::new();
    let resolver = if options.disable_cert_rotation {
        Arc::new(CertResolver::from_directory(Path::new(&options.cert_dir)).await?)
    } else {
        let resolver = Arc::new(CertResolver::new());
        hindrances.push(keep_certificate(args, client, namespace, resolver.clone()));
        resolver
    };
    let config =
        ServerConfig { tls: args.tls.clone(), http2: options.webhook_http2, ..ServerConfig::default() };
    let server = Server::bind(everywhere(PORT), &config, resolver)?;
    let latest = view::follow(client, namespace);
    hindrances.push(hindrance(latest.clone(), |latest| {
        latest.as_ref().err().filter(|unknown| !unknown.needs_us).map(|unknown| unknown.why.clone())
    }));
    let routes = Arc::new(routes(&latest, namespace));
    let (stop, mut stopped) = channel::channel(false);
    let task = tokio::spawn(server.serve(routes, async move {
        // An error says that nobody is left who could.
        stopped.wait_for(|stop| *stop).await.ok();
    }));
    info!(port = PORT, "webhooks are served");
    Ok(Webhooks { hindrances, stop, task })
}

/// What is answered on each path.
fn routes(latest: &channel::Receiver<Latest>, namespace: &str) -> Routes {
    let convert =
        |object, version: &str| api::convert_bgp_peer(object, version).map_err(|error| error.to_string());
    let namespace: Arc<str> = namespace.into();
    let routes = Routes::new().convert("/convert", convert);
    let routes = routes.review(metallb::PATH, |request| async move { metallb::judge(&request) });
    Reviewed::ALL.into_iter().fold(routes, |routes, kind| {
        let (latest, namespace) = (latest.clone(), namespace.clone());
        routes.review(kind.path(), move |request| {
            let (latest, namespace) = (latest.borrow().clone(), namespace.clone());
            async move { judge::judge(kind, request, &namespace, latest).await }
        })
    })
}

/// The answers of the webhooks by these objects, whatever happens to them: for measurements. `namespace` is the one
/// where they are.
pub fn reviews_of(objects: &Resources<'_>, namespace: &str) -> Routes {
    let snapshot = Snapshot::from(View::from(objects));
    // The last snapshot stays when nobody is left to send another.
    let (_, latest) = channel::channel(Ok(Arc::new(snapshot)));
    routes(&latest, namespace)
}

/// Keeps a certificate of our own making; what hinders that.
fn keep_certificate(
    args: &Args,
    client: &Client,
    namespace: &str,
    resolver: Arc<CertResolver>,
) -> channel::Receiver<Option<String>> {
    let config = RotationConfig {
        client: client.clone(),
        namespace: namespace.to_owned(),
        owner: None,
        secret: args.webhook.webhook_secret.clone(),
        service: args.webhook.cert_service_name.clone(),
        targets: vec![Target::Webhooks(CONFIGURATION.to_owned()), Target::Conversion(CONVERTED.to_owned())],
        policy: RotationPolicy::default(),
    };
    let starting = Readiness::NotReady("making a certificate for the webhooks".to_owned());
    let (readiness, ready) = channel::channel(starting);
    let deployment = args.deployment.clone();
    tokio::spawn(async move {
        let owner = secret::home(&config.client, &config.namespace, &deployment).await;
        rotate(RotationConfig { owner, ..config }, resolver, readiness).await;
    });
    hindrance(ready, |readiness| match readiness {
        Readiness::Ready => None,
        Readiness::NotReady(why) => Some(format!("webhook certificate: {why}")),
    })
}

/// What hinders, as it follows from something else.
fn hindrance<T: Send + Sync + 'static>(
    mut of: channel::Receiver<T>,
    why: impl Fn(&T) -> Option<String> + Send + 'static,
) -> channel::Receiver<Option<String>> {
    let (out, hindrance) = channel::channel(why(&of.borrow_and_update()));
    tokio::spawn(async move {
        while of.changed().await.is_ok() {
            let now = why(&of.borrow_and_update());
            out.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        }
    });
    hindrance
}

#[cfg(test)]
mod tests;
