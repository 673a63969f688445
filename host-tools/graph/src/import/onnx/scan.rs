//! A walk over the wire format before decoding (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Two bytes of a protocol buffer can become hundreds in memory. This walk decodes nothing: it follows the messages of the
//! ONNX schema, checks that every length fits, and counts what a decoder would allocate.

/// Most fields of all messages together: some hundred megabytes when decoded.
const MAX_FIELDS: usize = 4 << 20;
/// Deepest nesting of messages.
const MAX_DEPTH: usize = 64;

/// Messages that the walk enters.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    /// A message whose fields are small, whatever they are.
    Other,
}

impl Message {
    /// The message that a length-delimited field holds, `None` for text, bytes and numbers.
    fn field(self, number: u64) -> Option<Self> {
        match (self, number) {
            (Self::Model, 7) => Some(Self::Graph),
            (Self::Model, 8 | 14 | 20 | 25) => Some(Self::Other),
            (Self::Graph, 1) => Some(Self::Node),
            (Self::Graph, 5) => Some(Self::Tensor),
            (Self::Graph, 11..=15) => Some(Self::Other),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Attribute, 5 | 10) => Some(Self::Tensor),
            (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Attribute, 15 | 22 | 23) => Some(Self::Other),
            (Self::Tensor, 3 | 13) => Some(Self::Other),
            _ => None,
        }
    }
}

impl Message {
    /// What a length-delimited field that the walk does not enter costs, in fields.
    fn packed_cost(self, number: u64, len: usize) -> usize {
        match (self, number) {
            // Text or a message of text: no more than some of its bytes are fields.
            (Self::Other, _) => len / 4,
            // Numbers of one byte become eight bytes each.
            (Self::Tensor, 1 | 5 | 7 | 11) | (Self::Attribute, 8) => len / 64,
            _ => 0,
        }
    }
}

/// Checks the bytes of a model.
///
/// # Errors
/// When a length does not fit, nesting is too deep, or there are too many fields; with the offset.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut fields = 0;
    walk(bytes, 0, Message::Model, 0, &mut fields)?;
    if fields == 0 {
        return Err("the file is empty, expected an ONNX model".to_owned());
    }
    Ok(())
}

fn walk(
    bytes: &[u8],
    offset: usize,
    message: Message,
    depth: usize,
    fields: &mut usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!(
            "byte {offset}: messages nested deeper than {MAX_DEPTH}"
        ));
    }
    let mut at = 0;
    while at < bytes.len() {
        let fault =
            |what: &str| format!("byte {}: {what}; no ONNX file, or cut short", offset + at);
        *fields += 1;
        if *fields > MAX_FIELDS {
            return Err(fault("more fields than a model has"));
        }
        let (key, behind) = varint(bytes, at).ok_or_else(|| fault("no field begins here"))?;
        let (number, kind) = (key >> 3, key & 7);
        let end = match kind {
            0 => varint(bytes, behind).map(|(_, end)| end),
            1 => Some(behind + 8),
            5 => Some(behind + 4),
            2 => {
                let (len, start) =
                    varint(bytes, behind).ok_or_else(|| fault("a field without its length"))?;
                let end = usize::try_from(len)
                    .ok()
                    .and_then(|len| start.checked_add(len))
                    .filter(|&end| end <= bytes.len())
                    .ok_or_else(|| fault("a field reaches behind the end"))?;
                if let Some(inner) = message.field(number) {
                    walk(&bytes[start..end], offset + start, inner, depth + 1, fields)?;
                } else {
                    *fields += message.packed_cost(number, end - start);
                }
                Some(end)
            }
            _ => return Err(fault("a field of no known type")),
        };
        at = end
            .filter(|&end| end <= bytes.len())
            .ok_or_else(|| fault("a field reaches behind the end"))?;
    }
    Ok(())
}

/// A number of seven bits a byte, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f)
            .checked_shl(7 * index as u32)
            .unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_of_empty_nodes_is_refused() {
        let nodes = [0x0a, 0x00].repeat(MAX_FIELDS + 1);
        let mut bytes = vec![0x3a];
        let mut len = nodes.len();
        while len > 0x7f {
            bytes.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        bytes.push(len as u8);
        bytes.extend(nodes);
        let error = check(&bytes).expect_err("a bomb");
        assert!(error.contains("more fields"), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        // An attribute that holds a graph that holds a node that holds an attribute, and so on.
        let mut inner = Vec::new();
        for level in 0..90_usize {
            let tag = [0x32_u8, 0x2a, 0x0a][level % 3];
            let mut outer = vec![tag];
            let mut len = inner.len();
            while len > 0x7f {
                outer.push((len & 0x7f) as u8 | 0x80);
                len >>= 7;
            }
            outer.push(len as u8);
            outer.extend(&inner);
            inner = outer;
        }
        let mut bytes = vec![
            0x3a,
            0x80 | (inner.len() & 0x7f) as u8,
            (inner.len() >> 7) as u8,
        ];
        bytes.extend(&inner);
        let error = check(&bytes).expect_err("too deep");
        assert!(error.contains("nested"), "{error}");
    }

    #[test]
    fn a_length_behind_the_end_is_refused_with_its_offset() {
        let error = check(&[0x08, 0x07, 0x3a, 0x05, 0x0a]).expect_err("cut short");
        assert!(error.contains("byte 2"), "{error}");
    }
}
