//! What the tests here say often: a Service that moves, who claims its address and since when.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use e2e::flows::{Flows, Outcome};
use e2e::plan::{Host, Lan};
use e2e::{Observer, wait_for};

use crate::support::{SOON, World};

/// Addresses on both LANs.
pub(crate) const POOLS: &str = "
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: first, namespace: metallb-system}
spec: {addresses: [192.0.2.100-192.0.2.149, '2001:db8::100-2001:db8::1ff']}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: second, namespace: metallb-system}
spec: {addresses: [198.51.100.100-198.51.100.149], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: first, namespace: metallb-system}
spec: {ipAddressPools: [first]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: second, namespace: metallb-system}
spec: {ipAddressPools: [second], interfaces: [eth1]}
";

/// How long a takeover may take here, where the machine is busy with a whole cluster and other tests. What it does
/// take is measured by `cargo xtask bench l2`.
pub(crate) const TAKEOVER: Duration = Duration::from_secs(5);

/// A Service with an IPv4 and an IPv6 address, for TCP and UDP.
pub(crate) struct Moving<'a> {
    world: &'a World,
    pub(crate) name: &'static str,
    pub(crate) v4: String,
    pub(crate) v6: String,
}

impl<'a> Moving<'a> {
    pub(crate) fn create(world: &'a World, name: &'static str) -> Result<Self> {
        // What a test before this one broke and did not live to mend is not this one's subject.
        world.cluster.heal()?;
        world.apply(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: default}}, spec: {{type: LoadBalancer, \
             selector: {{app: web}}, ipFamilyPolicy: RequireDualStack, ports: [\
             {{name: tcp, protocol: TCP, port: 80, targetPort: 8080}}, \
             {{name: udp, protocol: UDP, port: 80, targetPort: 8080}}]}}}}"
        ))?;
        let addresses = wait_for("two addresses", SOON, || {
            let addresses = world.wait_addresses(name)?;
            ensure!(addresses.len() == 2, "{addresses:?}");
            Ok(addresses)
        })?;
        let of =
            |v6: bool| addresses.iter().find(|a| a.contains(':') == v6).cloned().context("both families");
        let moving = Self { world, name, v4: of(false)?, v6: of(true)? };
        moving.wait_holder(|_| true)?;
        wait_for("answers", SOON, || {
            world.fetch(&moving.v4, 80)?;
            world.fetch(&moving.v6, 80)
        })?;
        Ok(moving)
    }

    /// The node that answers for both addresses.
    pub(crate) fn holder(&self) -> Result<String> {
        let (v4, v6) = (self.world.holder(&self.v4)?, self.world.holder(&self.v6)?);
        ensure!(v4 == v6, "{} is at {v4} and {} at {v6}", self.v4, self.v6);
        Ok(v4)
    }

    /// Waits until one node that is as wanted answers for both addresses.
    pub(crate) fn wait_holder(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        self.wait_holder_within(SOON, wanted)
    }

    /// The same for as long as something takes that is not the speakers' own: a boot, a rollout.
    pub(crate) fn wait_holder_within(
        &self,
        limit: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        wait_for(&format!("the holder of {}", self.name), limit, || {
            let holder = self.holder()?;
            ensure!(wanted(&holder), "{holder} answers");
            Ok(holder)
        })
    }

    /// Begins to watch who claims one of the addresses.
    pub(crate) fn observe(&self, address: &str) -> Result<Observer> {
        let file = scratch(self.world, &format!("claims-{}", address.replace(':', "-")));
        Observer::start(&self.world.cluster, "eth0", address, &file)
    }

    /// Opens new flows to one of the addresses while `deed` is done, and says what became of them.
    pub(crate) fn flows_during(&self, seconds: u32, deed: impl FnOnce() -> Result<()>) -> Result<Outcome> {
        let address: IpAddr = self.v4.parse()?;
        let flows = Flows { address, ports: (80, 80), rate: 200, count: 200 * usize::try_from(seconds)? };
        let running = self.world.cluster.open_flows("client", &flows, &scratch(self.world, "flows"))?;
        deed()?;
        running.finish()
    }

    pub(crate) fn delete(self) -> Result<()> {
        self.world.delete_services(&[self.name])
    }
}

/// Waits for a claim by another node than `former` after `since`, and says how long it took.
pub(crate) fn wait_takeover(observer: &Observer, former: &str, since: SystemTime) -> Result<Duration> {
    let mac = Host::by_name(former)?.mac(Lan::First);
    wait_for("a claim by another node", TAKEOVER, || {
        let claims = observer.claims()?;
        let other = claims.iter().find(|claim| claim.at > since && claim.mac != mac);
        other.context("none yet")?.at.duration_since(since).context("the claim is later")
    })
}

/// A file for a program's output, which goes with the cluster.
pub(crate) fn scratch(world: &World, name: &str) -> PathBuf {
    world.cluster.instance().logs().join(name)
}
