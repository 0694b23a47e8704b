use serde_json::{Value, json};

use super::*;

const CSV: &str = "manifests/metallb-operator.clusterserviceversion.yaml";

fn release(version: &str) -> Release {
    Release {
        version: version.to_owned(),
        replaces: Some("0.0.9".to_owned()),
        registry: "registry.test:5000/metallb".to_owned(),
        tag: Some("dev".to_owned()),
    }
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

#[test]
fn the_files_are_current() {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let release = Release { version, replaces: None, registry: RELEASED.to_owned(), tag: None };
    run(&Options { release, out: "bundle".into(), check: true }).expect("bundle/ is what config/ says");
}

#[test]
fn the_version_and_its_images_are_those_of_the_release() {
    let files = render(&release("1.2.3")).expect("a bundle");
    let csv = parse(&files[CSV]);
    assert_eq!(csv["metadata"]["name"], "metallb-operator.v1.2.3");
    assert_eq!(csv["spec"]["version"], "1.2.3");
    assert_eq!(csv["spec"]["replaces"], "metallb-operator.v0.0.9");
    assert_eq!(csv["metadata"]["annotations"]["olm.skipRange"], ">=0.0.1 <1.2.3");
    let text = files.values().map(String::as_str).collect::<String>();
    assert!(!text.contains(RELEASED), "every image is replaced");
    // The environment of the operator, the containers and the list of images: the same ones.
    let deployments = &csv["spec"]["install"]["spec"]["deployments"];
    let environment = &deployments[0]["spec"]["template"]["spec"]["containers"][0]["env"];
    let environment = environment.as_array().expect("a list");
    for (variable, image) in [("CONTROLLER_IMAGE", "controller"), ("SPEAKER_IMAGE", "speaker")] {
        let value = environment.iter().find(|one| one["name"] == variable).expect("the variable");
        let expected = format!("registry.test:5000/metallb/{image}:dev");
        assert_eq!(value["value"], expected);
        let related = csv["spec"]["relatedImages"].as_array().expect("a list");
        assert!(related.iter().any(|one| one["image"] == expected), "{related:?}");
    }
}

#[test]
fn the_accounts_are_those_that_the_programs_run_as_and_each_has_its_rules_once() {
    let files = render(&release("1.2.3")).expect("a bundle");
    let csv = parse(&files[CSV]);
    for list in ["clusterPermissions", "permissions"] {
        let entries = csv["spec"]["install"]["spec"][list].as_array().expect("a list").clone();
        let mut accounts: Vec<&str> =
            entries.iter().map(|entry| entry["serviceAccountName"].as_str().expect("a name")).collect();
        accounts.sort_unstable();
        assert_eq!(accounts, ["controller", "manager-account", "speaker", "webhook-server"], "{list}");
        let stars = entries.iter().filter(|entry| entry["rules"].to_string().contains("\"*\""));
        assert_eq!(stars.count(), 0, "{list} grants everything of something");
    }
    let rules = csv["spec"]["install"]["spec"].to_string();
    assert!(!rules.contains("validatingwebhookconfigurations"), "OLM tells the API server whom to trust");
}

#[test]
fn the_prometheus_of_openshift_finds_the_pods_wherever_the_operator_is() {
    let files = render(&release("1.2.3")).expect("a bundle");
    let role = parse(&files["manifests/metallb-prometheus-k8s_role.yaml"]);
    let binding = parse(&files["manifests/metallb-prometheus-k8s_rolebinding.yaml"]);
    for object in [&role, &binding] {
        assert_eq!(object["metadata"].get("namespace"), None, "OLM puts it beside the operator");
    }
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(
        binding["subjects"],
        json!([{"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": "openshift-monitoring"}])
    );
    let verbs = role["rules"].as_array().expect("rules").iter().map(|rule| rule["verbs"].clone());
    assert!(verbs.into_iter().all(|verbs| verbs == json!(["get", "list", "watch"])), "it only looks");
    assert!(!role.to_string().contains("secrets"), "{role}");
}

#[test]
fn the_least_kubernetes_is_what_the_documentation_says() {
    let csv = parse(&render(&release("1.2.3")).expect("a bundle")[CSV]);
    let version =
        csv["spec"]["minKubeVersion"].as_str().expect("a version").trim_end_matches(".0").to_owned();
    let install = fs::read_to_string(workspace::root().join("docs/install.md")).expect("the documentation");
    assert!(install.contains(&format!("Kubernetes {version} or later")), "{version}");
}

/// A change to a file of the bundle, as an object, and the fault that it is.
type Fault = (&'static str, fn(&mut Value), &'static str);

#[test]
fn each_fault_is_found_and_named() {
    let sound = render(&release("1.2.3")).expect("a bundle");
    for (path, plant, expected) in FAULTS {
        let mut files = sound.clone();
        let mut object = parse(&files[path]);
        plant(&mut object);
        files.insert(path.to_owned(), serde_saphyr::to_string(&object).expect("YAML"));
        let found = checks::faults(&files);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: found {found:#?}");
    }
    let mut files = sound.clone();
    files.insert(CSV.to_owned(), format!("# A comment.\n---\n{}", sound[CSV]));
    assert_eq!(
        checks::faults(&files),
        [format!("{CSV} holds a line `---`: OLM reads the first document of a file only")]
    );
    let mut files = sound;
    files.insert("metadata/annotations.yaml".to_owned(), "annotations: {}\n".to_owned());
    assert_eq!(
        checks::faults(&files),
        ["metadata/annotations.yaml should name the package metallb-operator"]
    );
}

const FAULTS: [Fault; 19] = [
    (CSV, |csv| csv["metadata"]["name"] = "metallb.v1".into(), "should be named metallb-operator.v1.2.3"),
    (CSV, |csv| csv["kind"] = "Subscription".into(), "the bundle should hold one ClusterServiceVersion"),
    (
        CSV,
        |csv| deployment(csv)["name"] = "Manager_1".into(),
        "\"Manager_1\" has a name that is no DNS subdomain",
    ),
    (
        CSV,
        |csv| deployment(csv)["name"] = "metallb-operator-webhook-server".into(),
        "Deployment metallb-operator-webhook-server is there twice",
    ),
    (
        CSV,
        |csv| drop(deployment(csv)["spec"]["template"]["spec"]["containers"][0]["resources"].take()),
        "container \"manager\" of Deployment metallb-operator-controller-manager requests no resources",
    ),
    (
        CSV,
        |csv| owned(csv)["name"] = "others.metallb.io".into(),
        "definition others.metallb.io v1beta1 is owned but not there",
    ),
    (
        CSV,
        |csv| drop(owned(csv)["description"].take()),
        "owned definition bfdprofiles.metallb.io v1beta1 has no description",
    ),
    (
        CSV,
        |csv| owned(csv)["resources"] = json!([]),
        "bfdprofiles.metallb.io v1beta1 has no description or no resources",
    ),
    (CSV, |csv| drop(owned(csv)["specDescriptors"].take()), "does not describe the field detectMultiplier"),
    (
        CSV,
        |csv| webhook(csv)["deploymentName"] = "nobody".into(),
        "by Deployment \"nobody\", which is not there",
    ),
    (
        CSV,
        |csv| webhook(csv)["generateName"] = "A".into(),
        "webhook \"A\" has a name that is no DNS subdomain",
    ),
    (
        CSV,
        |csv| webhook(csv)["generateName"] = "ipaddresspoolvalidationwebhook.metallb.io".into(),
        "ValidatingAdmissionWebhook ipaddresspoolvalidationwebhook.metallb.io is there twice",
    ),
    (CSV, |csv| webhook(csv)["rules"][0]["apiGroups"] = json!(["*"]), "is asked about API group \"*\""),
    (
        CSV,
        |csv| conversion(csv)["conversionCRDs"] = json!(["x.metallb.io"]),
        "converts \"x.metallb.io\", which is not owned",
    ),
    (
        CSV,
        |csv| conversion(csv)["conversionCRDs"] = json!(["bgppeers.metallb.io", "bgppeers.metallb.io"]),
        "\"bgppeers.metallb.io\" is converted by two webhooks",
    ),
    (
        CSV,
        |csv| csv["spec"]["installModes"][0]["supported"] = true.into(),
        "AllNamespaces should be the only install mode",
    ),
    (
        CSV,
        |csv| csv["metadata"]["annotations"]["alm-examples"] = "[]".into(),
        "MetalLB v1beta1 has no example",
    ),
    (
        "manifests/metallb.io_bgppeers.yaml",
        |crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"}),
        "definition bgppeers.metallb.io should say nothing of conversion",
    ),
    (
        "manifests/metallb.io_metallbs.yaml",
        |crd| crd["kind"] = "NetworkPolicy".into(),
        "NetworkPolicy \"metallbs.metallb.io\" is of a kind that catalogs do not take",
    ),
];

fn deployment(csv: &mut Value) -> &mut Value {
    &mut csv["spec"]["install"]["spec"]["deployments"][0]
}

fn owned(csv: &mut Value) -> &mut Value {
    &mut csv["spec"]["customresourcedefinitions"]["owned"][0]
}

fn webhook(csv: &mut Value) -> &mut Value {
    &mut csv["spec"]["webhookdefinitions"][0]
}

fn conversion(csv: &mut Value) -> &mut Value {
    let all = csv["spec"]["webhookdefinitions"].as_array_mut().expect("a list");
    all.iter_mut().find(|webhook| webhook["type"] == "ConversionWebhook").expect("one converts")
}
