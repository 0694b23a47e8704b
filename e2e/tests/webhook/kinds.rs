//! Every kind: created and changed, well and badly, in the right namespace and in another; and the two versions of
//! BGPPeers as kubectl sees them.

use anyhow::{Context, Result, bail, ensure};
use e2e::wait_for;
use serde_json::{Value, json};

use crate::Suite;
use crate::objects::{Object, until};
use crate::support::{NAMESPACE, SOON};

/// A kind in a version, with a spec that is good, another one, and a bad one with a part of what is said to it.
struct Kind {
    name: &'static str,
    version: &'static str,
    webhook: &'static str,
    good: Value,
    better: Value,
    bad: Value,
    says: &'static str,
}

fn kinds() -> [Kind; 7] {
    [
        Kind {
            name: "IPAddressPool",
            version: "v1beta1",
            webhook: "ipaddresspoolvalidationwebhook.metallb.io",
            good: json!({"addresses": ["198.51.100.0/25"]}),
            better: json!({"addresses": ["198.51.100.0/24"], "autoAssign": false}),
            bad: json!({"addresses": ["198.51.100.9-198.51.100.1"]}),
            says: r#"start IP "198.51.100.9" is after the end IP "198.51.100.1""#,
        },
        Kind {
            name: "L2Advertisement",
            version: "v1beta1",
            webhook: "l2advertisementvalidationwebhook.metallb.io",
            good: json!({}),
            better: json!({"ipAddressPools": ["a"], "preferredNodeSelectors": [{"weight": 100, "preference": {}}]}),
            bad: json!({"ipAddressPools": ["a", "a"]}),
            says: r#"duplicate definition of ipAddressPools "a""#,
        },
        Kind {
            name: "BGPAdvertisement",
            version: "v1beta1",
            webhook: "bgpadvertisementvalidationwebhook.metallb.io",
            good: json!({"localPref": 100}),
            better: json!({"localPref": 200, "communities": ["65000:1", "large:1:2:3"]}),
            bad: json!({"communities": ["65000:1", "65000:1"]}),
            says: r#"duplicate definition of community "65000:1""#,
        },
        Kind {
            name: "BGPPeer",
            version: "v1beta1",
            webhook: "bgppeersvalidationwebhook.metallb.io",
            good: json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254"}),
            better: json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254", "holdTime": "90s"}),
            bad: json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254", "nodeSelectors":
                [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}),
            says: "parsing peer kind duplicate definition of nodeSelectors",
        },
        Kind {
            name: "BGPPeer",
            version: "v1beta2",
            webhook: "bgppeersvalidationwebhook.metallb.io",
            good: json!({"myASN": 64512, "dynamicASN": "external", "interface": "eth1"}),
            better: json!({"myASN": 64512, "dynamicASN": "internal", "interface": "eth1", "connectTime": "10s"}),
            bad: json!({"myASN": 64512, "dynamicASN": "external", "interface": "eth1", "nodeSelectors":
                [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "b"]}]}]}),
            says: "parsing peer kind duplicate definition of match expression value in label selector",
        },
        Kind {
            name: "BFDProfile",
            version: "v1beta1",
            webhook: "bfdprofilevalidationwebhook.metallb.io",
            good: json!({"receiveInterval": 100}),
            better: json!({"receiveInterval": 200, "echoMode": true}),
            bad: json!({"detectMultiplier": 1}),
            says: "spec.detectMultiplier in body should be greater than or equal to 2",
        },
        Kind {
            name: "Community",
            version: "v1beta1",
            webhook: "communityvalidationwebhook.metallb.io",
            good: json!({"communities": [{"name": "mine", "value": "65000:1"}]}),
            better: json!({"communities": [{"name": "mine", "value": "large:65000:1:2"}]}),
            bad: json!({"communities": [{"name": "mine", "value": "1:1"}, {"name": "mine", "value": "1:2"}]}),
            says: r#"duplicate definition of community "mine""#,
        },
    ]
}

impl Kind {
    fn object(&self, spec: &Value) -> Object {
        Object::new(self.name, self.version, "kind", spec.clone())
    }
}

/// Of each kind in each version: a good object is created and changed, a bad one is neither.
pub(crate) fn every_kind_is_judged_when_it_is_created_and_when_it_is_changed(suite: &Suite) -> Result<()> {
    suite.run(async |admin| {
        for kind in kinds() {
            let judged = async {
                let refused = admin.create(&kind.object(&kind.bad)).await?;
                let refused = refused.err().context("a bad one was created")?;
                ensure!(refused.message.contains(kind.says), "creation: {refused:?}");
                let created = admin.create(&kind.object(&kind.good)).await?;
                ensure!(created.is_ok(), "{created:?}");
                let refused = admin.update(&kind.object(&kind.bad), false).await?;
                let refused = refused.err().context("a good one became bad")?;
                ensure!(refused.message.contains(kind.says), "update: {refused:?}");
                let updated = admin.update(&kind.object(&kind.better), false).await?;
                let updated = updated.map_err(|refusal| anyhow::anyhow!(refusal.message))?;
                let spec = &updated.data["spec"];
                for (field, value) in kind.better.as_object().context("fields")? {
                    ensure!(&spec[field] == value, "{field} is {}", spec[field]);
                }
                anyhow::Ok(())
            };
            let judged = judged.await.with_context(|| format!("{} {}", kind.name, kind.version));
            admin.delete(&kind.object(&kind.good)).await?;
            judged?;
        }
        Ok(())
    })
}

/// An object of any kind in another namespace would be without effect, and is refused.
pub(crate) fn every_kind_is_refused_in_another_namespace(suite: &Suite) -> Result<()> {
    suite.run(async |admin| {
        for kind in kinds() {
            let refused = admin.try_create_in(&kind.object(&kind.good), "default").await?;
            let refused = refused.err().with_context(|| format!("{} {}", kind.name, kind.version))?;
            let expected = format!(
                "admission webhook {:?} denied the request: resource must be created in {NAMESPACE} namespace",
                kind.webhook
            );
            ensure!(refused.message == expected, "{refused:?}");
        }
        Ok(())
    })
}

/// A BFDProfile that a BGPPeer uses cannot be deleted; when the peer is gone it can.
pub(crate) fn a_bfd_profile_in_use_cannot_be_deleted(suite: &Suite) -> Result<()> {
    suite.run(async |admin| {
        let profile = Object::new("BFDProfile", "v1beta1", "fast", json!({"receiveInterval": 100}));
        let spec =
            json!({"myASN": 64512, "peerASN": 64513, "peerAddress": "192.0.2.254", "bfdProfile": "fast"});
        let peer = Object::new("BGPPeer", "v1beta2", "guarded", spec);
        for object in [&profile, &peer] {
            let created = admin.create(object).await?;
            ensure!(created.is_ok(), "{created:?}");
        }
        let says = "admission webhook \"bfdprofilevalidationwebhook.metallb.io\" denied the request: failed to delete BFDProfile fast, used by BGPPeer guarded";
        // Dry, so that a webhook that has not heard of the peer yet takes nothing away.
        let dry = kube::api::DeleteParams { dry_run: true, ..Default::default() };
        let profiles = admin.api(&profile, NAMESPACE);
        until("the profile to be protected", async || match profiles.delete("fast", &dry).await {
            Err(kube::Error::Api(status)) if status.message == says => Ok(()),
            other => bail!("{other:?}"),
        })
        .await?;
        let refused = admin.delete(&profile).await;
        ensure!(refused.is_err_and(|error| format!("{error:#}").contains(says)));
        admin.delete(&peer).await?;
        until("the profile to be free", async || admin.delete(&profile).await).await
    })
}

/// A peer written in one version is read in the other by kubectl, and nothing is lost on the way there and back.
pub(crate) fn a_bgp_peer_is_served_in_both_versions(suite: &Suite) -> Result<()> {
    let world = &suite.world;
    let peer = |version: &str, name: &str, spec: &str| {
        format!(
            "{{apiVersion: metallb.io/{version}, kind: BGPPeer, metadata: {{name: {name}, namespace: {NAMESPACE}}}, spec: {{{spec}}}}}"
        )
    };
    let old = "myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.253, peerPort: 1179";
    world.apply(&peer("v1beta1", "old", old))?;
    let new = "myASN: 64512, dynamicASN: external, peerAddress: 192.0.2.252, vrf: red, connectTime: 5s";
    world.apply(&peer("v1beta2", "new", new))?;
    let read = |version: &str, name: &str| {
        anyhow::Ok(world.get(&format!("bgppeers.{version}.metallb.io {name} -n {NAMESPACE}"))?["spec"].take())
    };
    let spec = read("v1beta2", "old")?;
    ensure!(spec["peerPort"] == 1179 && spec["holdTime"].is_null(), "unset stays unset: {spec}");
    let before = read("v1beta2", "new")?;
    // Read and written back in the older version, which has no field for most of it.
    let mut object = world.get(&format!("bgppeers.v1beta1.metallb.io new -n {NAMESPACE}"))?;
    ensure!(object["apiVersion"] == "metallb.io/v1beta1" && object["spec"]["vrf"].is_null(), "{object}");
    object["metadata"]["labels"] = json!({"edited": "yes"});
    world.cluster.kubectl_with_stdin(&["replace", "-f", "-"], &object.to_string())?;
    let after = read("v1beta2", "new")?;
    ensure!(before == after, "{before} became {after}");
    // Both lists have both, each in its own version.
    for version in ["v1beta1", "v1beta2"] {
        let list = world.get(&format!("bgppeers.{version}.metallb.io -n {NAMESPACE}"))?;
        let items = list["items"].as_array().context("a list")?;
        let as_asked = items.iter().filter(|item| item["apiVersion"] == format!("metallb.io/{version}"));
        ensure!(as_asked.count() == 2 && items.len() == 2, "{list}");
    }
    world.k(&format!("delete bgppeer old new -n {NAMESPACE}"))?;
    wait_for("the peers to be gone", SOON, || {
        let list = world.get(&format!("bgppeers.v1beta1.metallb.io -n {NAMESPACE}"))?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
        Ok(())
    })
}
