//! A value of a JSON document that knows where it is.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::policy::error::Invalid;

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// A value that is there (`null` is not), and where.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    value: &'a Value,
    step: Step<'a>,
    parent: Option<&'a Field<'a>>,
    strict: bool,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A field that is a mapping.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    field: &'a Field<'a>,
    map: &'a Map<String, Value>,
}

impl<'a> Field<'a> {
    /// The whole document; `strict` refuses fields that nobody knows.
    pub fn root(value: &'a Value, strict: bool) -> Self {
        Self { value, step: Step::Root, parent: None, strict }
    }

    /// The complaint that only this is allowed here.
    pub fn only(&self, allowed: impl Display) -> Box<Invalid> {
        Box::new(Invalid {
            path: self.to_string(),
            value: abridged(self.value),
            allowed: allowed.to_string(),
            ..Invalid::default()
        })
    }

    pub fn object(&'a self) -> Result<Object<'a>> {
        let map = self.value.as_object().ok_or_else(|| self.only("must be a mapping"))?;
        Ok(Object { field: self, map })
    }

    /// The members of a list, of which there may be so many.
    pub fn list(&'a self, max: usize) -> Result<impl Iterator<Item = Field<'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.only("must be a list"))?;
        if list.len() > max {
            return Err(self.only(format_args!("must have at most {max} items")));
        }
        let member = |(index, value): (usize, &'a Value)| {
            // Only `{}` says "everything"; nobody means that by a `null`.
            Field { value, step: Step::Index(index), parent: Some(self), strict: self.strict }
        };
        Ok(list.iter().enumerate().map(member))
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.only("must be a string"))
    }

    pub fn shared_text(&self) -> Result<Arc<str>> {
        self.text().map(Into::into)
    }

    pub fn bool(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.only("must be true or false"))
    }

    pub fn number(&self, first: u16, last: u16) -> Result<u16> {
        let number = self.value.as_i64().and_then(|number| u16::try_from(number).ok());
        number
            .filter(|number| (first..=last).contains(number))
            .ok_or_else(|| self.only(format_args!("must be a number from {first} to {last}")))
    }

    pub fn is_number(&self) -> bool {
        self.value.is_number()
    }

    /// One of these words.
    pub fn one_of<T>(&self, words: &[(&str, T)]) -> Result<T>
    where
        T: Copy,
    {
        let text = self.value.as_str();
        match words.iter().find(|(word, _)| Some(*word) == text) {
            Some((_, meaning)) => Ok(*meaning),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(self.only(format_args!("must be one of {}", words.join(", "))))
            }
        }
    }
}

impl<'a> Object<'a> {
    /// A field that is there and not `null`.
    pub fn get(&self, key: &'a str) -> Option<Field<'a>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        let (field, strict) = (self.field, self.field.strict);
        Some(Field { value, step: Step::Key(key), parent: Some(field), strict })
    }

    pub fn need(&self, key: &'a str) -> Result<Field<'a>> {
        self.get(key).ok_or_else(|| self.missing(key))
    }

    pub fn missing(&self, key: &str) -> Box<Invalid> {
        let mut path = self.field.to_string();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        let (value, allowed) = ("missing".into(), "is required".into());
        Box::new(Invalid { path, value, allowed, ..Invalid::default() })
    }

    /// Refuse all other keys, if fields that nobody knows are refused.
    pub fn known(&self, keys: &[&str]) -> Result<()> {
        if !self.field.strict {
            return Ok(());
        }
        match self.map.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, value)) => {
                let parent = Some(self.field);
                let unknown = Field { value, step: Step::Key(key), parent, strict: true };
                Err(unknown.only(format_args!("unknown field; known are {}", keys.join(", "))))
            }
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = (&'a String, Field<'a>)> {
        let (parent, strict) = (Some(self.field), self.field.strict);
        self.map
            .iter()
            .map(move |(key, value)| (key, Field { value, step: Step::Key(key), parent, strict }))
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn field(&self) -> &'a Field<'a> {
        self.field
    }
}

impl Display for Field<'_> {
    /// The path, as `spec.ingress[0].from`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        let inside = self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root));
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) if inside => write!(f, ".{key}"),
            Step::Key(key) => f.write_str(key),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn abridged(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
