//! Damage to the fields of a protocol buffer, which goes on to be one: lengths are written anew
//! (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! No schema is asked: what can be read as a message is one, and is written back as it was.

use crate::damage::Random;

/// Deepest message that is looked into.
const MAX_DEPTH: usize = 8;
/// Largest number of a field of a message that is looked into.
const MAX_NUMBER: u64 = 64;
/// What numbers become.
const NUMBERS: [u64; 14] = [
    0,
    1,
    2,
    3,
    7,
    8,
    13,
    64,
    4096,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

#[derive(Clone)]
struct Field {
    number: u64,
    value: Value,
}

#[derive(Clone)]
enum Value {
    Number(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    Message(Vec<Field>),
}

/// One change to a file; `other` lends fields. Whether the bytes were a file of this kind.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let (Some(mut fields), Some(lent)) = (parse(bytes, 0), parse(other, 0)) else {
        return false;
    };
    let mut all = Vec::new();
    collect(if random.below(4) == 0 { &lent } else { &fields }, &mut all);
    let Some(lent) = (!all.is_empty()).then(|| all[random.below(all.len())].clone()) else {
        return false;
    };
    let index = random.below(count(&fields));
    change(&mut fields, index, &lent, random);
    let mut written = Vec::new();
    write(&fields, &mut written);
    *bytes = written;
    true
}

/// Changes the field of this index, in the order of the file.
fn change(fields: &mut Vec<Field>, index: usize, lent: &Field, random: &mut Random) {
    let mut left = index;
    for at in 0..fields.len() {
        if left == 0 {
            return change_at(fields, at, lent, random);
        }
        left -= 1;
        if let Value::Message(inside) = &mut fields[at].value {
            let inside_count = count(inside);
            if left < inside_count {
                return change(inside, left, lent, random);
            }
            left -= inside_count;
        }
    }
}

fn change_at(fields: &mut Vec<Field>, at: usize, lent: &Field, random: &mut Random) {
    match random.below(7) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(at, fields[at].clone()),
        2 => {
            let to = random.below(fields.len());
            fields.swap(at, to);
        }
        3 => fields[at].value = lent.value.clone(),
        4 => fields.insert(at, lent.clone()),
        _ => change_value(&mut fields[at].value, lent, random),
    }
}

fn change_value(value: &mut Value, lent: &Field, random: &mut Random) {
    let number = NUMBERS[random.below(NUMBERS.len())];
    match value {
        Value::Number(found) if random.below(2) == 0 => *found = found.wrapping_add(1),
        Value::Number(found) => *found = number,
        Value::Fixed64(found) => *found = number.to_le_bytes(),
        Value::Fixed32(found) => *found = (number as u32).to_le_bytes(),
        Value::Message(fields) => fields.push(lent.clone()),
        Value::Bytes(found) if found.is_empty() => found.push(number as u8),
        Value::Bytes(found) => match random.below(3) {
            0 => found.truncate(random.below(found.len())),
            1 => found.extend_from_slice(&number.to_le_bytes()),
            _ => {
                let at = random.below(found.len());
                found[at] = number as u8;
            }
        },
    }
}

fn count(fields: &[Field]) -> usize {
    let inside = fields.iter().map(|field| match &field.value {
        Value::Message(inside) => count(inside),
        _ => 0,
    });
    fields.len() + inside.sum::<usize>()
}

fn collect<'a>(fields: &'a [Field], all: &mut Vec<&'a Field>) {
    for field in fields {
        all.push(field);
        if let Value::Message(inside) = &field.value {
            collect(inside, all);
        }
    }
}

fn parse(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let (number, kind) = (key >> 3, key & 7);
        if !(1..=MAX_NUMBER).contains(&number) {
            return None;
        }
        let value = match kind {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Fixed64(*take(&mut bytes, 8)?.first_chunk()?),
            5 => Value::Fixed32(*take(&mut bytes, 4)?.first_chunk()?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let inside = take(&mut bytes, len)?;
                let message = (depth < MAX_DEPTH && len > 1).then(|| parse(inside, depth + 1));
                match message.flatten() {
                    Some(message) => Value::Message(message),
                    None => Value::Bytes(inside.to_vec()),
                }
            }
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn write(fields: &[Field], to: &mut Vec<u8>) {
    for Field { number, value } in fields {
        let (kind, inside) = match value {
            Value::Number(found) => (0, encoded(*found)),
            Value::Fixed64(found) => (1, found.to_vec()),
            Value::Fixed32(found) => (5, found.to_vec()),
            Value::Bytes(found) => (2, found.clone()),
            Value::Message(found) => {
                let mut inside = Vec::new();
                write(found, &mut inside);
                (2, inside)
            }
        };
        to.extend(encoded(number << 3 | kind));
        if kind == 2 {
            to.extend(encoded(inside.len() as u64));
        }
        to.extend(inside);
    }
}

fn encoded(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
