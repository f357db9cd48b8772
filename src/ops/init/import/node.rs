//! A place in a JSON document: what is read there, or said to be wrong there. Pure.

use crate::failure::Failure;
use serde_json::Value;

/// A value, and the way that leads to it.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    value: &'a Value,
    place: String,
}

impl<'a> Node<'a> {
    pub(super) fn top(value: &'a Value) -> Self {
        Self {
            value,
            place: String::new(),
        }
    }

    fn is_not(&self, what: &str) -> Failure {
        let is = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        let place = match self.place.as_str() {
            "" => "the whole",
            place => place,
        };
        Failure::usage(format!("{place} is {is}, not {what}"))
    }

    /// What an object holds, by its keys.
    pub(super) fn members(&self) -> Result<Vec<(&'a str, Self)>, Failure> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.is_not("an object"))?;
        Ok((object.iter())
            .map(|(key, value)| (key.as_str(), self.member(key, value)))
            .collect())
    }

    /// What an object holds under a key; nothing is what `null` is, too.
    pub(super) fn get(&self, key: &str) -> Result<Option<Self>, Failure> {
        let object = self
            .value
            .as_object()
            .ok_or_else(|| self.is_not("an object"))?;
        Ok((object.get(key))
            .filter(|value| !value.is_null())
            .map(|value| self.member(key, value)))
    }

    fn member(&self, key: &str, value: &'a Value) -> Self {
        let key = match key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            true => key.to_owned(),
            false => format!("{key:?}"),
        };
        let place = match self.place.as_str() {
            "" => key,
            place => format!("{place}.{key}"),
        };
        Self { value, place }
    }

    /// The elements of the list under a key: none, if there is no such list.
    pub(super) fn list(&self, key: &str) -> Result<Vec<Self>, Failure> {
        let Some(list) = self.get(key)? else {
            return Ok(Vec::new());
        };
        let elements = list
            .value
            .as_array()
            .ok_or_else(|| list.is_not("a list"))?
            .iter()
            .enumerate();
        Ok(elements
            .map(|(n, value)| Self {
                value,
                place: format!("{}[{n}]", list.place),
            })
            .collect())
    }

    /// The value itself, if it is a string.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    /// The string under a key.
    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Failure> {
        let Some(node) = self.get(key)? else {
            return Ok(None);
        };
        let text = node.as_text().ok_or_else(|| node.is_not("a string"))?;
        Ok(Some(text))
    }

    /// The string under a key that must be there.
    pub(super) fn needed(&self, key: &str) -> Result<&'a str, Failure> {
        if !self.value.is_object() {
            return Err(self.is_not(&format!("a path, or an object with `{key}`")));
        }
        self.text(key)?
            .ok_or_else(|| Failure::usage(format!("{} has no `{key}`", self.place)))
    }

    /// The truth under a key.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        let Some(node) = self.get(key)? else {
            return Ok(None);
        };
        let flag = node
            .value
            .as_bool()
            .ok_or_else(|| node.is_not("true or false"))?;
        Ok(Some(flag))
    }

    /// The keys of an object that are none of these.
    pub(super) fn others(&self, known: &[&str]) -> Vec<&'a str> {
        let object = self.value.as_object().into_iter();
        object
            .flat_map(|object| object.keys())
            .map(String::as_str)
            .filter(|key| !known.contains(key))
            .collect()
    }
}
