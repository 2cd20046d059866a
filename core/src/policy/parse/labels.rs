//! Labels and selectors (`metav1.LabelSelector`).

use std::sync::Arc;

use super::Result;
use super::field::{Field, Object as Map};
use crate::policy::selector::{Labels, Requirement, Selector, Test};

/// Labels of an object that exists: whatever they are, they are its labels.
pub fn labels(metadata: &Map<'_>, more: Option<(&str, &Arc<str>)>) -> Result<Labels> {
    let mut pairs = Vec::new();
    if let Some((key, value)) = more {
        pairs.push((key.into(), value.clone()));
    }
    if let Some(field) = metadata.get("labels") {
        for (key, value) in field.object()?.entries() {
            pairs.push((key.as_str().into(), value.shared_text()?));
        }
    }
    Ok(Labels::new(pairs))
}

/// A selector; the empty one selects everything.
pub fn selector(field: &Field<'_>) -> Result<Selector> {
    let map = field.object()?;
    map.known(&["matchLabels", "matchExpressions"])?;
    let mut requirements = Vec::new();
    if let Some(field) = map.get("matchLabels") {
        for (key, value) in field.object()?.entries() {
            check_key(key, &value)?;
            let test = Test::In(vec![label_value(&value)?]);
            requirements.push(Requirement { key: key.as_str().into(), test });
        }
    }
    if let Some(field) = map.get("matchExpressions") {
        for one in field.list(usize::MAX)? {
            requirements.push(requirement(&one)?);
        }
    }
    Ok(Selector::new(requirements))
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

fn requirement(field: &Field<'_>) -> Result<Requirement> {
    let map = field.object()?;
    map.known(&["key", "operator", "values"])?;
    let key = map.need("key")?;
    check_key(key.text()?, &key)?;
    let operator = map.need("operator")?.one_of(&[
        ("In", Operator::In),
        ("NotIn", Operator::NotIn),
        ("Exists", Operator::Exists),
        ("DoesNotExist", Operator::DoesNotExist),
    ])?;
    let mut values = Vec::new();
    let listed = map.get("values");
    if let Some(field) = &listed {
        for value in field.list(usize::MAX)? {
            values.push(label_value(&value)?);
        }
    }
    let test = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            return Err(listed.map_or_else(
                || map.missing("values"),
                |field| field.only("must have at least one value with In and NotIn"),
            ));
        }
        Operator::In => Test::In(values),
        Operator::NotIn => Test::NotIn(values),
        Operator::Exists | Operator::DoesNotExist => {
            if let (false, Some(field)) = (values.is_empty(), listed) {
                return Err(field.only("must be empty with Exists and DoesNotExist"));
            }
            if matches!(operator, Operator::Exists) { Test::Exists } else { Test::DoesNotExist }
        }
    };
    Ok(Requirement { key: key.shared_text()?, test })
}

/// `[prefix/]name`: the name as a value, but not empty; the prefix a DNS subdomain.
fn check_key(key: &str, at: &Field<'_>) -> Result<()> {
    let (prefix, name) = match key.split_once('/') {
        None => (None, key),
        Some((prefix, name)) => (Some(prefix), name),
    };
    let prefix_fits = prefix.is_none_or(is_subdomain);
    if prefix_fits && !name.is_empty() && is_value(name) {
        return Ok(());
    }
    let mut invalid = at.only(
        "the key of a label is [prefix/]name: the prefix a DNS subdomain, \
                               the name 1 to 63 letters, digits, -, _ or ., a letter or digit \
                               at either end",
    );
    invalid.value = format!("key {key:?}");
    Err(invalid)
}

fn label_value(field: &Field<'_>) -> Result<Arc<str>> {
    let text = field.text()?;
    if !is_value(text) {
        return Err(field.only(
            "the value of a label is 0 to 63 letters, digits, -, _ or ., a letter or digit \
             at either end",
        ));
    }
    Ok(text.into())
}

fn is_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && bytes.iter().all(inner)
        && ends.into_iter().flatten().all(u8::is_ascii_alphanumeric)
}

fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        !bytes.is_empty()
            && bytes.iter().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}
