//! The mistakes of `mistakes.yaml`: each is found, in its words, in the configuration and by admission.

use config::{Problem, Resources};
use serde::Deserialize;
use serde_json::{Value, json};

use super::World;
use super::reviews::review;

/// One mistake; the file says what the fields mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    says: String,
    schema: Option<String>,
    #[serde(default)]
    admitted: bool,
    objects: Vec<Written>,
}

/// An object as it stands there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    version: Option<String>,
    name: String,
    spec: Value,
}

impl Written {
    /// The kind as these tests call it, the name, and the spec in the version that is stored.
    fn stored(&self) -> (&str, &str, Value) {
        let kind = match self.kind.as_str() {
            "IPAddressPool" => "pool",
            "L2Advertisement" => "l2",
            "BGPAdvertisement" => "bgp",
            "BGPPeer" => "peer",
            "BFDProfile" => "bfd",
            "Community" => "community",
            "Secret" => "secret",
            other => panic!("no kind {other}"),
        };
        let Some(version) = &self.version else { return (kind, &self.name, self.spec.clone()) };
        let older =
            json!({"kind": self.kind, "apiVersion": format!("metallb.io/{version}"), "spec": self.spec});
        let mut newer = api::convert_bgp_peer(older, "metallb.io/v1beta2").expect("a BGPPeer");
        (kind, &self.name, newer["spec"].take())
    }
}

fn mistakes() -> Vec<Mistake> {
    serde_saphyr::from_str(include_str!("mistakes.yaml")).expect("mistakes.yaml is a list of mistakes")
}

#[test]
fn every_mistake_has_its_exact_text_and_takes_only_its_object_out_of_force() {
    for mistake in mistakes() {
        let objects: Vec<_> = mistake.objects.iter().map(Written::stored).collect();
        let (last, good) = objects.split_last().expect("an object");
        let before = World::of(good).config(None);
        assert_eq!(before.error_summary(), None, "{}", mistake.says);
        let mut world = World::of(good);
        world.add(last.0, last.1, &last.2);
        let summary = Some(format!("configuration error: {}", mistake.says));
        assert_eq!(world.config(None).error_summary(), summary);
        let after = world.config(Some(&before));
        assert_eq!(after.error_summary(), summary);
        let named: Vec<&Problem> = after.problems.iter().filter(|problem| !problem.hint).collect();
        assert!(matches!(named[..], [problem] if problem.object.name == last.1), "{named:?}");
    }
}

#[test]
fn admission_refuses_every_mistake_but_those_that_may_still_be_mended_elsewhere() {
    for mistake in mistakes() {
        assert!(!(mistake.admitted && mistake.schema.is_some()), "one or the other: {}", mistake.says);
        let objects: Vec<_> = mistake.objects.iter().map(Written::stored).collect();
        let (last, good) = objects.split_last().expect("an object");
        let world = World::of(good);
        // Admission does not see Secrets.
        let resources = Resources { secrets: Vec::new(), ..world.resources() };
        let refusal = review(&resources, last.0, last.1, &last.2);
        assert_eq!(refusal, if mistake.admitted { "" } else { mistake.says.as_str() });
    }
}
