//! What every kind of the group has in common: the root object and its place in the API.

/// Declares the root type of a kind and its [`kube_core::Resource`].
///
/// A manifest without `spec` is read as one with an empty spec, as the API server allows for every kind
/// but IPAddressPool; the derive macro of kube would refuse it. A kind may have no spec at all.
macro_rules! custom_resource {
    ($(#[$doc:meta])* $kind:ident { $(#[$spec_doc:meta])* spec: $spec:ty, $(#[$status_doc:meta])* status: $status:ty }, $version:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $kind {
            /// Standard object metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $(#[$spec_doc])*
            #[serde(default)]
            pub spec: $spec,
            $(#[$status_doc])*
            #[serde(default)]
            pub status: Option<$status>,
        }

        $crate::resource::custom_resource!(@behaviour $kind, [spec], $version, $plural);
    };

    ($(#[$doc:meta])* $kind:ident { $(#[$status_doc:meta])* status: $status:ty }, $version:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        pub struct $kind {
            /// Standard object metadata.
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $(#[$status_doc])*
            #[serde(default)]
            pub status: Option<$status>,
        }

        $crate::resource::custom_resource!(@behaviour $kind, [], $version, $plural);
    };

    (@behaviour $kind:ident, [$($spec:ident)?], $version:literal, $plural:literal) => {
        impl $kind {
            /// The version of the API group that this type describes.
            pub const VERSION: &'static str = $version;
        }

        // By hand, because the body of a create or an apply must name its apiVersion and kind.
        impl serde::Serialize for $kind {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut object = serializer.serialize_struct(stringify!($kind), 5)?;
                object.serialize_field("apiVersion", &<Self as kube_core::Resource>::api_version(&()))?;
                object.serialize_field("kind", stringify!($kind))?;
                object.serialize_field("metadata", &self.metadata)?;
                $(object.serialize_field("spec", &self.$spec)?;)?
                match &self.status {
                    Some(status) => object.serialize_field("status", status)?,
                    None => object.skip_field("status")?,
                }
                object.end()
            }
        }

        impl kube_core::Resource for $kind {
            type DynamicType = ();
            type Scope = kube_core::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $crate::names::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(crate) use custom_resource;
