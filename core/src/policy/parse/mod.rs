//! Objects from Kubernetes' JSON, checked as the API server checks them.

mod cluster_policy;
mod field;
mod labels;
mod network_policy;
mod ports;
mod resources;

use serde_json::Value;

use self::field::{Field, Object as Map};
pub use self::resources::NAME_LABEL;
use super::error::Invalid;
use super::model::{Key, Kind, Object};

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// Read an object. With `strict`, fields of a policy that are not part of its kind are refused;
/// else they are overlooked.
///
/// # Errors
/// The first field that the API server would refuse.
pub fn object(value: &Value, strict: bool) -> Result<Object> {
    let root = Field::root(value, strict);
    let root = root.object()?;
    let kind = kind(&root)?;
    let key = key(&root, kind)?;
    let parsed = match kind {
        Kind::Namespace => resources::namespace(&root, &key).map(Object::Namespace),
        Kind::Node => resources::node(&root, &key).map(Object::Node),
        Kind::Pod => resources::pod(&root, &key).map(Object::Pod),
        Kind::NetworkPolicy => network_policy::parse(&root, &key).map(Object::Policy),
        Kind::ClusterNetworkPolicy => cluster_policy::parse(&root, &key).map(Object::Policy),
        Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy => {
            cluster_policy::parse_v1alpha1(&root, &key).map(Object::Policy)
        }
    };
    parsed.map_err(|invalid| invalid.of(&key))
}

/// The versions of each kind that are understood.
fn versions(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace | Kind::Node | Kind::Pod => &["v1"],
        Kind::NetworkPolicy => &["networking.k8s.io/v1"],
        Kind::ClusterNetworkPolicy => {
            &["policy.networking.k8s.io/v1alpha2", "policy.networking.k8s.io/v1beta1"]
        }
        Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy => {
            &["policy.networking.k8s.io/v1alpha1"]
        }
    }
}

fn kind(root: &Map<'_>) -> Result<Kind> {
    let field = root.need("kind")?;
    let words = Kind::ALL.map(|kind| (kind.as_str(), kind));
    let kind = field.one_of(&words)?;
    let version = match root.get("apiVersion") {
        Some(version) => version,
        // Kubernetes' own lists have items without; a policy could be of several groups.
        None if matches!(kind, Kind::Namespace | Kind::Node | Kind::Pod) => return Ok(kind),
        None => return Err(root.missing("apiVersion")),
    };
    let words: Vec<_> = versions(kind).iter().map(|version| (*version, ())).collect();
    let named = |mut invalid: Box<Invalid>| {
        kind.as_str().clone_into(&mut invalid.kind);
        invalid
    };
    version.one_of(&words).map_err(named)?;
    Ok(kind)
}

fn key(root: &Map<'_>, kind: Kind) -> Result<Key> {
    let named = |mut invalid: Box<Invalid>| {
        kind.as_str().clone_into(&mut invalid.kind);
        invalid
    };
    let metadata = root.need("metadata").map_err(named)?;
    let metadata = metadata.object().map_err(named)?;
    let part = |name| {
        let field = metadata.need(name)?;
        let text = field.text()?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) {
            return Err(field.only("must be a name of 1 to 253 characters, without /"));
        }
        Ok(text.into())
    };
    let name = part("name").map_err(named)?;
    let namespace = match kind.is_namespaced() {
        false => None,
        // Tools leave it out of files; the API server takes what it is posted to, kubectl this one.
        true if metadata.get("namespace").is_none() => Some("default".into()),
        true => Some(part("namespace").map_err(named)?),
    };
    Ok(Key { kind, namespace, name })
}

/// The annotation that makes a policy an audited one.
pub const AUDIT: &str = "cnidaria.io/audit";

/// (uid, whether it is only audited).
fn policy_metadata(root: &Map<'_>) -> Result<(Option<std::sync::Arc<str>>, bool)> {
    let metadata = root.need("metadata")?;
    let metadata = metadata.object()?;
    let uid = metadata.get("uid");
    let uid = uid.as_ref().map(Field::shared_text).transpose()?;
    let Some(annotations) = metadata.get("annotations") else {
        return Ok((uid, false));
    };
    let annotations = annotations.object()?;
    let audit = match annotations.get(AUDIT) {
        None => false,
        Some(field) => field.one_of(&[("true", true), ("false", false)])?,
    };
    Ok((uid, audit))
}
