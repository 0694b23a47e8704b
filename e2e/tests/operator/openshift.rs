//! The operator where the API server has OpenShift's group, as far as that alone goes: what makes certificates and enforces
//! constraints there is not here.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::wait_for;
use serde_json::{Value, json};

use crate::OPERATOR;
use crate::besides::{MONITORS, wait_for_made};
use crate::support::{NAMESPACE, ROLLOUT, SOON, World};

/// A definition of the group by which the operator knows OpenShift.
const ROUTES: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: \
    routes.route.openshift.io}, spec: {group: route.openshift.io, scope: \
    Namespaced, names: {kind: Route, plural: routes}, versions: [{name: v1, served: true, storage: true, schema: \
    {openAPIV3Schema: {type: object}}}]}}";
/// Each workload, the constraints that it names, and the Secret with its certificate.
const WORKLOADS: [(&str, &str, &str); 2] = [
    ("deployment controller", "restricted-v2", "controller-certs-secret"),
    ("daemonset speaker", "privileged", "speaker-certs-secret"),
];

/// Starts the operator anew: it looks at the platform then.
fn restart_operator(world: &World) -> Result<()> {
    world.k(&format!("rollout restart {OPERATOR} -n {NAMESPACE}"))?;
    world.k(&format!("rollout status {OPERATOR} -n {NAMESPACE} --timeout={}s", ROLLOUT.as_secs())).map(drop)
}

/// The constraints that the Pods of a workload name.
fn constraints(world: &World, workload: &str) -> Result<Value> {
    Ok(world.template(workload)?["metadata"]["annotations"]["openshift.io/required-scc"].take())
}

pub(crate) fn on_openshift_pods_name_constraints_and_serve_its_certificates(world: &World) -> Result<()> {
    world.apply(ROUTES)?;
    world.k("wait --for=condition=Established crd/routes.route.openshift.io")?;
    wait_for("the group to be known", SOON, || {
        let groups = world.k("get --raw /apis")?;
        ensure!(groups.contains("route.openshift.io"), "{groups}");
        Ok(())
    })?;
    restart_operator(world)?;
    // Prometheus is there as a rule.
    wait_for_made(world, "servicemonitors", SOON, &MONITORS)?;
    for (workload, wanted, _) in WORKLOADS {
        wait_for(&format!("{workload} to name its constraints"), SOON, || {
            let found = constraints(world, workload)?;
            ensure!(found == wanted, "{found}");
            Ok(())
        })?;
    }
    // The Services ask for certificates; who answers that on OpenShift is played here, with one that is at hand.
    let certificate = world.get(&format!("secret metallb-webhook-cert -n {NAMESPACE}"))?["data"].take();
    for (workload, _, secret) in WORKLOADS {
        let component = workload.split_once(' ').map_or(workload, |(_, component)| component);
        let service = world.get(&format!("service {component}-monitor-service -n {NAMESPACE}"))?;
        let asked = &service["metadata"]["annotations"]["service.beta.openshift.io/serving-cert-secret-name"];
        ensure!(asked == secret, "{workload}: {asked}");
        let data: BTreeMap<_, _> =
            ["tls.crt", "tls.key"].map(|field| (field, certificate[field].clone())).into();
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": secret, "namespace": NAMESPACE}, "data": data,
        });
        world.apply(&object.to_string())?;
    }
    world.wait_available()?;
    // Only plain Kubernetes is told a user; the image names one that is nobody.
    let user = world.template("deployment controller")?["spec"]["securityContext"]["runAsUser"].take();
    ensure!(user.is_null(), "the controller runs as {user}");

    world.k("delete crd routes.route.openshift.io")?;
    wait_for("the group to be gone", SOON, || {
        let groups = world.k("get --raw /apis")?;
        ensure!(!groups.contains("route.openshift.io"), "{groups}");
        Ok(())
    })?;
    restart_operator(world)?;
    wait_for_made(world, "servicemonitors", SOON, &[])?;
    for (workload, _, secret) in WORKLOADS {
        wait_for(&format!("{workload} to be plain again"), SOON, || {
            let found = constraints(world, workload)?;
            ensure!(found.is_null(), "{found}");
            Ok(())
        })?;
        world.k(&format!("delete secret {secret} -n {NAMESPACE}"))?;
    }
    world.wait_available()
}
