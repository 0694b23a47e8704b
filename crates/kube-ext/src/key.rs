//! Names of objects.

use std::fmt;

/// Namespace and name of one object, of a kind that the context knows.
///
/// Orders by namespace, then name. Displays as `namespace/name`, or as `name` where the namespace is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectKey {
    /// Empty for an object that lives in no namespace, such as a Node.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// The key with these parts; `namespace` is empty for an object that lives in none.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of `object`. An object without a name (one never seen by a server) has an empty one.
    pub fn of(object: &impl kube::Resource) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Node, Service};
    use kube::{Resource, ResourceExt};

    use super::*;

    #[test]
    fn a_namespaced_object_reads_as_namespace_and_name() {
        let mut service = Service::default();
        service.meta_mut().namespace = Some("shop".into());
        service.meta_mut().name = Some("web".into());
        assert_eq!(ObjectKey::of(&service).to_string(), "shop/web");
    }

    #[test]
    fn a_cluster_scoped_object_reads_as_its_name() {
        let mut node = Node::default();
        node.meta_mut().name = Some("worker-1".into());
        assert_eq!(ObjectKey::of(&node).to_string(), "worker-1");
        assert_eq!(ObjectKey::of(&node), ObjectKey::new("", node.name_any()));
    }
}
