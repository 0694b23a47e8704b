//! Which nodes have a speaker that is ready.

use std::collections::BTreeMap;

use kube_ext::ObjectKey;

/// The speakers' Pods. While one is replaced, a node has two.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// The node of each ready Pod.
    pods: BTreeMap<ObjectKey, String>,
}

impl Members {
    /// Notes that the Pod is ready on a node, or on none; returns the nodes that this makes members or not.
    pub(crate) fn set(&mut self, pod: ObjectKey, node: Option<String>) -> Vec<(String, bool)> {
        if self.pods.get(&pod) == node.as_ref() {
            return Vec::new();
        }
        let mut changed = Vec::new();
        if let Some(left) = self.pods.remove(&pod)
            && !self.has(&left)
        {
            changed.push((left, false));
        }
        if let Some(node) = node {
            if !self.has(&node) {
                changed.push((node.clone(), true));
            }
            self.pods.insert(pod, node);
        }
        changed
    }

    fn has(&self, node: &str) -> bool {
        self.pods.values().any(|other| other == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_member_while_one_of_its_pods_is_ready() {
        let pod = |name: &str| ObjectKey::new("metallb-system", name);
        let on = |node: &str| Some(node.to_owned());
        let mut members = Members::default();
        for (step, name, node, changed) in [
            ("a Pod becomes ready", "old", on("iris1"), vec![("iris1", true)]),
            ("again", "old", on("iris1"), vec![]),
            ("its successor becomes ready", "new", on("iris1"), vec![]),
            ("it goes", "old", None, vec![]),
            ("its successor goes", "new", None, vec![("iris1", false)]),
            ("and again", "new", None, vec![]),
        ] {
            let expected: Vec<_> =
                changed.into_iter().map(|(n, up): (&str, bool)| (n.to_owned(), up)).collect();
            assert_eq!(members.set(pod(name), node), expected, "{step}");
        }
    }
}
