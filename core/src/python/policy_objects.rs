//! Kubernetes' objects from Python: mappings as the API has them, or their JSON.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde_json::{Map, Value};

use super::errors::invalid_object;
use crate::policy::{Invalid, Object, parse_object};

/// Deeper nesting than any object has; it bounds the recursion.
const DEEPEST: usize = 64;

/// Read one object.
pub fn object(given: &Bound<'_, PyAny>, strict: bool) -> PyResult<Object> {
    let value = if let Ok(bytes) = given.cast::<PyBytes>() {
        json(bytes.as_bytes())?
    } else if let Ok(text) = given.cast::<PyString>() {
        json(text.to_str()?.as_bytes())?
    } else {
        value(given, DEEPEST)?
    };
    parse_object(&value, strict).map_err(|invalid| invalid_object(*invalid))
}

fn json(bytes: &[u8]) -> PyResult<Value> {
    serde_json::from_slice(bytes).map_err(|error| {
        let value = String::from_utf8_lossy(bytes).chars().take(40).collect();
        let allowed = format!("must be a JSON object: {error}");
        invalid_object(Invalid { value, allowed, ..Invalid::default() })
    })
}

fn value(given: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(PyValueError::new_err(format!("object: nested deeper than {DEEPEST} levels")));
    };
    if given.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = given.cast::<PyString>() {
        return Ok(Value::String(text.to_str()?.to_owned()));
    }
    if let Ok(dict) = given.cast::<PyDict>() {
        let mut map = Map::new();
        for (key, member) in dict.iter() {
            map.insert(text_key(&key)?, value(&member, depth)?);
        }
        return Ok(Value::Object(map));
    }
    if given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() {
        let members = given.try_iter()?.map(|member| value(&member?, depth));
        return Ok(Value::Array(members.collect::<PyResult<_>>()?));
    }
    if let Ok(truth) = given.cast::<PyBool>() {
        return Ok(Value::Bool(truth.is_true()));
    }
    if given.is_instance_of::<PyInt>() {
        // What is beyond 64 bits is as wrong in any field as the largest of them.
        return Ok(given.extract::<i64>().unwrap_or(i64::MAX).into());
    }
    if given.is_instance_of::<PyFloat>() {
        return Ok(given.extract::<f64>()?.into());
    }
    if let Ok(mapping) = given.cast::<PyMapping>() {
        let mut map = Map::new();
        for pair in mapping.items()?.iter() {
            let (key, member): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
            map.insert(text_key(&key)?, value(&member, depth)?);
        }
        return Ok(Value::Object(map));
    }
    // YAML has dates, which JSON writes as text; no field that is read here is one.
    if given.hasattr("isoformat")? {
        return Ok(Value::String(given.str()?.to_str()?.to_owned()));
    }
    let kind = given.get_type().name()?;
    Err(PyTypeError::new_err(format!("object: {kind} is nothing that JSON has")))
}

fn text_key(key: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = key.cast::<PyString>().map_err(|_| {
        let shown = key.repr().map_or_else(|_| "key".to_owned(), |repr| repr.to_string());
        PyTypeError::new_err(format!("object: {shown} is no key that JSON has: use strings"))
    })?;
    Ok(text.to_str()?.to_owned())
}
