//! Attributes of a node, read by name.

use tract_onnx::pb;

use super::{Refusal, refuse};

/// A node's attributes.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [pb::AttributeProto]);

impl<'a> Attributes<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&'a pb::AttributeProto> {
        self.0.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |attribute| attribute.f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| attribute.ints.as_slice())
    }

    /// Text, `default` when it is absent or not UTF-8.
    pub(super) fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.find(name)
            .and_then(|attribute| std::str::from_utf8(&attribute.s).ok())
            .filter(|text| !text.is_empty())
            .unwrap_or(default)
    }

    /// Non-negative integers, `count` of them.
    pub(super) fn sizes(
        &self,
        name: &str,
        count: usize,
        default: usize,
    ) -> Result<Vec<usize>, Refusal> {
        let Some(values) = self.ints(name) else {
            return Ok(vec![default; count]);
        };
        let sizes: Option<Vec<usize>> = values
            .iter()
            .map(|&value| usize::try_from(value).ok())
            .collect();
        sizes.filter(|sizes| sizes.len() == count).ok_or_else(|| {
            refuse(
                format!("attribute {name} is {values:?}, expected {count} numbers from 0"),
                "only two-dimensional windows without negative padding are supported",
            )
        })
    }
}

/// A dimension counted from the front.
pub(super) fn axis(value: i64, rank: usize) -> Result<usize, Refusal> {
    let found = if value < 0 {
        value.checked_add(rank as i64)
    } else {
        Some(value)
    };
    found
        .and_then(|value| usize::try_from(value).ok())
        .filter(|&value| value < rank)
        .ok_or_else(|| {
            refuse(
                format!("dimension {value} of {rank}, expected one that exists"),
                "check the file",
            )
        })
}
