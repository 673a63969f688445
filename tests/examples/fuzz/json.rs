//! Damage to the tree of a JSON document, which stays JSON.

use serde_json::{Value, json};

use crate::damage::Random;

/// One change to a document.
pub(crate) fn damage(document: &mut Value, random: &mut Random) {
    let count = count(document);
    let other = nth(document, random.below(count)).map_or(Value::Null, |value| value.clone());
    let Some(value) = nth(document, random.below(count)) else {
        return;
    };
    match (value, random.below(4)) {
        (Value::Array(values), 0) if !values.is_empty() => {
            let at = random.below(values.len());
            values.remove(at);
        }
        (Value::Array(values), 1) if !values.is_empty() => {
            let copied = values[random.below(values.len())].clone();
            values.insert(random.below(values.len()), copied);
        }
        (Value::Object(fields), 0 | 1) if !fields.is_empty() => {
            let at = random.below(fields.len());
            let key = fields.keys().nth(at).cloned().unwrap_or_default();
            fields.remove(&key);
        }
        (value, 2) => *value = other,
        (value, _) => *value = strange(value, random),
    }
}

/// [`damage`] to bytes; whether they were JSON.
pub(crate) fn damage_bytes(bytes: &mut Vec<u8>, random: &mut Random) -> bool {
    let Ok(mut document) = serde_json::from_slice(bytes) else {
        return false;
    };
    damage(&mut document, random);
    *bytes = document.to_string().into_bytes();
    true
}

/// A value that few documents have in this place.
fn strange(value: &Value, random: &mut Random) -> Value {
    let near = value.as_u64().unwrap_or(1);
    let all = [
        json!(0),
        json!(1),
        json!(near.wrapping_add(1)),
        json!(near.wrapping_sub(1)),
        json!(near.wrapping_mul(2)),
        json!(-1),
        json!(3),
        json!(4097),
        json!(i32::MAX),
        json!(u32::MAX),
        json!(1_u64 << 40),
        json!(u64::MAX),
        json!(0.5),
        json!(1e-40),
        json!(-1e30),
        json!(1e300),
        json!(null),
        json!(true),
        json!(""),
        json!([]),
        json!({}),
        json!([-1, 0, u64::MAX]),
    ];
    all[random.below(all.len())].clone()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

/// A value of the tree, in the order of the document.
fn nth(value: &mut Value, index: usize) -> Option<&mut Value> {
    if index == 0 {
        return Some(value);
    }
    let mut left = index - 1;
    let inside: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(values) => Box::new(values.iter_mut()),
        Value::Object(fields) => Box::new(fields.values_mut()),
        _ => return None,
    };
    for value in inside {
        let count = count(value);
        if left < count {
            return nth(value, left);
        }
        left -= count;
    }
    None
}
