//! The fields of a protocol buffer message, read in place
//! (<https://protobuf.dev/programming-guides/encoding>).

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    /// A string, bytes, or a message.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order: number and value, or what is wrong, after which nothing follows.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), String> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.chunk()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                Value::Bytes(self.bytes(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.chunk()?)),
            wire_type => {
                return Err(format!(
                    "found wire type {wire_type}, expected 0, 1, 2 or 5"
                ));
            }
        };
        Ok((tag >> 3, value))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.chunk::<1>()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("found a number of more than 10 bytes".to_owned())
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], String> {
        let left = self.rest.len();
        let split = self.rest.split_first_chunk::<N>();
        let (chunk, rest) =
            split.ok_or_else(|| format!("found {left} bytes at the end, expected {N} or more"))?;
        self.rest = rest;
        Ok(chunk)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], String> {
        let left = self.rest.len();
        let split = self.rest.split_at_checked(len);
        let (bytes, rest) = split
            .ok_or_else(|| format!("found a field of {len} bytes, expected at most {left}"))?;
        self.rest = rest;
        Ok(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_wire_type_are_read() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x00\x00\x80\x3f\x21\x01\0\0\0\0\0\0\0";
        let fields: Result<Vec<_>, _> = Fields::new(message).collect();
        assert_eq!(
            fields.unwrap(),
            [
                (1, Value::Varint(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Fixed32(1.0_f32.to_bits())),
                (4, Value::Fixed64(1)),
            ]
        );
    }

    #[test]
    fn damaged_messages_end_in_an_error() {
        for message in [&b"\x08"[..], b"\x12\x05hi", b"\x1d\0", b"\x0b", &[0xff; 11]] {
            let fields: Vec<_> = Fields::new(message).collect();
            assert!(matches!(fields[..], [Err(_)]), "{message:x?}");
        }
    }
}
