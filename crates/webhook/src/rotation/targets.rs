//! What the API server trusts when it calls us: `caBundle`s, read and written.

use k8s_openapi::{
    ByteString, api::admissionregistration::v1::ValidatingWebhookConfiguration,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{ResourceExt, api::Patch};
use serde_json::{Value, json};

use crate::pki::{self, Authority};

/// The kinds of objects that hold `caBundle`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Webhooks,
    Conversion,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Webhooks => "ValidatingWebhookConfiguration",
            Self::Conversion => "CustomResourceDefinition",
        }
    }
}

/// One object and the entries in it that lead to our service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetView {
    pub(super) kind: Kind,
    pub(super) name: String,
    resource_version: String,
    /// The names of the entries; a conversion has one without a name.
    entries: Vec<String>,
    /// The CAs in the `caBundle` of each entry.
    pub(super) bundles: Vec<Vec<Authority>>,
}

/// The service that the API server calls.
#[derive(Debug, Clone)]
pub(super) struct Callee {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Callee {
    fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

impl TargetView {
    pub(super) fn of_webhooks(object: &ValidatingWebhookConfiguration, callee: &Callee) -> Self {
        let ours = object.webhooks.iter().flatten().filter(|webhook| {
            let service = webhook.client_config.service.as_ref();
            service.is_some_and(|service| callee.is(&service.namespace, &service.name))
        });
        let (entries, bundles) = ours
            .map(|webhook| (webhook.name.clone(), read(webhook.client_config.ca_bundle.as_ref())))
            .unzip();
        Self {
            kind: Kind::Webhooks,
            name: object.name_any(),
            resource_version: object.resource_version().unwrap_or_default(),
            entries,
            bundles,
        }
    }

    pub(super) fn of_conversion(object: &CustomResourceDefinition, callee: &Callee) -> Self {
        let webhook = object.spec.conversion.as_ref().and_then(|conversion| conversion.webhook.as_ref());
        let config = webhook.and_then(|webhook| webhook.client_config.as_ref());
        let config = config.filter(|config| {
            config.service.as_ref().is_some_and(|service| callee.is(&service.namespace, &service.name))
        });
        Self {
            kind: Kind::Conversion,
            name: object.name_any(),
            resource_version: object.resource_version().unwrap_or_default(),
            entries: config.iter().map(|_| String::new()).collect(),
            bundles: config.iter().map(|config| read(config.ca_bundle.as_ref())).collect(),
        }
    }

    /// What makes every entry trust the CAs in `pem`, unless the object has changed since it was seen.
    pub(super) fn patch(&self, pem: &str) -> Patch<Value> {
        let config = json!({"caBundle": ByteString(pem.as_bytes().to_vec())});
        let metadata = json!({"resourceVersion": self.resource_version});
        match self.kind {
            // Merged by the entries' names, so that nothing else of them is touched.
            Kind::Webhooks => {
                let entries: Vec<_> =
                    self.entries.iter().map(|name| json!({"name": name, "clientConfig": config})).collect();
                Patch::Strategic(json!({"metadata": metadata, "webhooks": entries}))
            }
            Kind::Conversion => {
                let conversion = json!({"webhook": {"clientConfig": config}});
                Patch::Merge(json!({"metadata": metadata, "spec": {"conversion": conversion}}))
            }
        }
    }
}

fn read(bundle: Option<&ByteString>) -> Vec<Authority> {
    bundle.map(|bundle| pki::authorities(&bundle.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::pki::Validity;

    fn callee() -> Callee {
        Callee { namespace: "metallb-system".into(), name: "metallb-webhook-service".into() }
    }

    fn parse<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("an object of that kind")
    }

    fn webhook(name: &str, service: &Value, bundle: &Value) -> Value {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"service": service, "caBundle": bundle},
        })
    }

    #[test]
    fn only_the_entries_that_lead_to_our_service_are_seen_and_written() {
        let ours = json!({"namespace": "metallb-system", "name": "metallb-webhook-service", "path": "/a"});
        let validity = Validity { from: 0, until: 9 };
        let (authority, _) = Authority::make(validity).expect("a CA");
        let object: ValidatingWebhookConfiguration = parse(json!({
            "metadata": {"name": "metallb-webhook-configuration", "resourceVersion": "7"},
            "webhooks": [
                webhook("a.metallb.io", &ours, &json!(ByteString(pki::to_pem([&authority.der]).into_bytes()))),
                webhook("b.example.com", &json!({"namespace": "metallb-system", "name": "other"}), &json!("Qg==")),
                webhook("c.metallb.io", &ours, &json!(null)),
                webhook("d.example.com", &json!(null), &json!("RA==")),
            ],
        }));
        let view = TargetView::of_webhooks(&object, &callee());
        assert_eq!(view.bundles, [vec![authority], Vec::new()]);
        let Patch::Strategic(patch) = view.patch("new") else { panic!("merged by name") };
        let written = json!({"caBundle": "bmV3"});
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "7"},
                "webhooks": [
                    {"name": "a.metallb.io", "clientConfig": written},
                    {"name": "c.metallb.io", "clientConfig": written},
                ],
            })
        );
    }

    #[test]
    fn a_definition_is_seen_if_its_conversion_leads_to_our_service() {
        let definition = |conversion: Value| -> CustomResourceDefinition {
            parse(json!({
                "metadata": {"name": "bgppeers.metallb.io", "resourceVersion": "9"},
                "spec": {
                    "group": "metallb.io", "scope": "Namespaced", "versions": [],
                    "names": {"kind": "BGPPeer", "plural": "bgppeers"}, "conversion": conversion,
                },
            }))
        };
        let service = |name: &str| {
            json!({
                "strategy": "Webhook",
                "webhook": {
                    "conversionReviewVersions": ["v1"],
                    "clientConfig": {"service": {"namespace": "metallb-system", "name": name}},
                },
            })
        };
        for (conversion, entries) in [
            (json!(null), 0),
            (json!({"strategy": "None"}), 0),
            (service("other"), 0),
            (service("metallb-webhook-service"), 1),
        ] {
            let view = TargetView::of_conversion(&definition(conversion), &callee());
            assert_eq!(view.bundles.len(), entries);
        }
        let view = TargetView::of_conversion(&definition(service("metallb-webhook-service")), &callee());
        let Patch::Merge(patch) = view.patch("new") else { panic!("merged") };
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "9"},
                "spec": {"conversion": {"webhook": {"clientConfig": {"caBundle": "bmV3"}}}},
            })
        );
    }
}
