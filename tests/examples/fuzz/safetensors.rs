//! Damage to the tensors of a safetensors file, which goes on to be one: its lengths and offsets are written anew, unless
//! they are what is changed.

use serde_json::{Map, Value, json};

use crate::damage::Random;
use crate::json;

/// Largest tensor that a change makes.
const MOST_BYTES: usize = 1 << 20;
/// Of the elements that are set in, little-endian.
const NUMBERS: [u32; 8] = [
    0,
    0x7fc0_0000,
    0x7f80_0000,
    0xff80_0000,
    0x7f7f_ffff,
    1,
    0xbf80_0000,
    0xffff_ffff,
];

/// A file in parts.
pub(crate) struct File {
    metadata: Option<Value>,
    tensors: Vec<Tensor>,
}

#[derive(Clone)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl File {
    /// The parts of bytes that are sound.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut header, data) = split(bytes)?;
        let metadata = header.remove("__metadata__");
        let tensor = |(name, entry): (String, Value)| {
            let [from, to] = serde_json::from_value(entry["data_offsets"].clone()).ok()?;
            Some(Tensor {
                name,
                dtype: entry["dtype"].as_str()?.to_owned(),
                shape: serde_json::from_value(entry["shape"].clone()).ok()?,
                data: data.get(from..to)?.to_vec(),
            })
        };
        let tensors = header.into_iter().map(tensor).collect::<Option<_>>()?;
        Some(Self { metadata, tensors })
    }

    /// Only the tensors whose names are wanted.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.tensors.retain(|tensor| wanted(&tensor.name));
    }

    /// The bytes of the file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut header = Map::new();
        if let Some(metadata) = &self.metadata {
            header.insert("__metadata__".to_owned(), metadata.clone());
        }
        let mut data = Vec::new();
        for tensor in &self.tensors {
            let from = data.len();
            data.extend_from_slice(&tensor.data);
            let entry = json!({
                "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [from, data.len()]
            });
            header.insert(tensor.name.clone(), entry);
        }
        joined(&Value::Object(header), &data)
    }
}

/// One change to a file; `other` lends tensors. Whether the bytes were a file of this kind.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    if random.below(6) == 0 {
        return damage_header(bytes, random);
    }
    let Some(mut file) = File::parse(bytes) else {
        return false;
    };
    if !damage_metadata(&mut file, random) {
        damage_tensors(&mut file, other, random);
    }
    *bytes = file.to_bytes();
    true
}

/// Changes the header and leaves the data, so that offsets lie.
fn damage_header(bytes: &mut Vec<u8>, random: &mut Random) -> bool {
    let Some((header, data)) = split(bytes) else {
        return false;
    };
    let mut header = Value::Object(header);
    json::damage(&mut header, random);
    *bytes = joined(&header, data);
    true
}

/// Changes a document inside the metadata, as graphs have; whether there was one.
fn damage_metadata(file: &mut File, random: &mut Random) -> bool {
    let Some(Value::Object(metadata)) = &mut file.metadata else {
        return false;
    };
    let is_document = |text: &&mut Value| text.as_str().is_some_and(|text| text.starts_with('{'));
    let Some(text) = metadata.values_mut().find(is_document) else {
        return false;
    };
    let Ok(mut document) = serde_json::from_str(text.as_str().unwrap_or_default()) else {
        return false;
    };
    json::damage(&mut document, random);
    *text = Value::String(document.to_string());
    true
}

fn damage_tensors(file: &mut File, other: &[u8], random: &mut Random) {
    if file.tensors.is_empty() {
        return;
    }
    let at = random.below(file.tensors.len());
    match random.below(7) {
        0 => drop(file.tensors.remove(at)),
        1 => file.tensors[at].name = renamed(&file.tensors[at].name, random),
        2 => {
            let mut copied = file.tensors[at].clone();
            copied.name = renamed(&copied.name, random);
            file.tensors.push(copied);
        }
        3 => {
            let lent = File::parse(other).map_or(Vec::new(), |file| file.tensors);
            if !lent.is_empty() {
                file.tensors.push(lent[random.below(lent.len())].clone());
            }
        }
        4 => retyped(&mut file.tensors[at], random),
        5 => refilled(&mut file.tensors[at], random),
        _ => reshaped(&mut file.tensors[at], random),
    }
}

/// The name with another number in it, or with another end.
fn renamed(name: &str, random: &mut Random) -> String {
    const NUMBERS: [&str; 7] = ["0", "1", "2", "5", "10", "999", "18446744073709551616"];
    let mut parts: Vec<&str> = name.split('.').collect();
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let places: Vec<usize> = (0..parts.len()).filter(|&i| is_number(parts[i])).collect();
    match places.is_empty() || random.below(3) == 0 {
        true => drop(parts.pop()),
        false => {
            parts[places[random.below(places.len())]] = NUMBERS[random.below(NUMBERS.len())];
        }
    }
    parts.join(".")
}

/// Another type of element, and as many as fit the shape.
fn retyped(tensor: &mut Tensor, random: &mut Random) {
    const TYPES: [&str; 10] = [
        "F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL", "F8_E4M3",
    ];
    tensor.dtype = TYPES[random.below(TYPES.len())].to_owned();
    fitted(tensor);
}

/// Extreme numbers among the elements, or nothing else.
fn refilled(tensor: &mut Tensor, random: &mut Random) {
    let number = NUMBERS[random.below(NUMBERS.len())].to_le_bytes();
    let (words, _) = tensor.data.as_chunks_mut::<4>();
    match random.below(2) {
        0 => words.fill(number),
        _ if words.is_empty() => {}
        _ => words[random.below(words.len())] = number,
    }
}

/// Another shape, with the data that it wants or with that which was there.
fn reshaped(tensor: &mut Tensor, random: &mut Random) {
    const SIZES: [u64; 8] = [0, 1, 2, 3, 5, 64, 1 << 32, u64::MAX];
    let size = SIZES[random.below(SIZES.len())];
    let shape = &mut tensor.shape;
    let at = random.below(shape.len());
    match random.below(6) {
        0 => shape.reverse(),
        1 => shape.insert(at.min(shape.len()), size),
        2 if !shape.is_empty() => drop(shape.remove(at)),
        3 if !shape.is_empty() => shape[at] = size,
        4 if !shape.is_empty() => shape[at] = shape[at].wrapping_add(1),
        _ => shape.clear(),
    }
    if random.below(8) != 0 {
        fitted(tensor);
    }
}

/// As many bytes as shape and type say, unless those are too many.
fn fitted(tensor: &mut Tensor) {
    let width = match tensor.dtype.as_str() {
        "F64" | "I64" => 8,
        "F32" | "I32" => 4,
        "F16" | "BF16" => 2,
        _ => 1,
    };
    let elements = tensor
        .shape
        .iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size));
    let bytes = elements.and_then(|count| usize::try_from(count).ok()?.checked_mul(width));
    if let Some(bytes) = bytes.filter(|&bytes| bytes <= MOST_BYTES) {
        tensor.data.resize(bytes, 0);
    }
}

/// Header and data.
fn split(bytes: &[u8]) -> Option<(Map<String, Value>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    match serde_json::from_slice(header).ok()? {
        Value::Object(header) => Some((header, data)),
        _ => None,
    }
}

fn joined(header: &Value, data: &[u8]) -> Vec<u8> {
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes(), &header[..], data].concat()
}
