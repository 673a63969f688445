//! FlatBuffers (<https://flatbuffers.dev/internals/>), read in place and only as far as a schema asks.
//!
//! A buffer is bytes from outside: every offset is checked where it is followed. There is no recursion here and
//! nothing is copied, so that a cycle of offsets or an absurd length costs nothing; who walks vectors limits how far.

/// What is wrong with the bytes: what was found and what was expected, with the position.
pub(super) type Fault = String;

/// Bytes of an offset, of a length and of an identifier.
const WORD: usize = 4;

/// A record whose fields may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    /// Where it begins.
    at: usize,
    /// Distances of the fields from there, 0 for those that are missing.
    fields: &'a [[u8; 2]],
}

/// A vector of tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables<'a> {
    bytes: &'a [u8],
    /// Where its first element is.
    at: usize,
    offsets: &'a [[u8; WORD]],
}

impl<'a> Table<'a> {
    /// The root of a buffer that has this identifier.
    pub(super) fn root(bytes: &'a [u8], identifier: &[u8; WORD]) -> Result<Self, Fault> {
        let found = array::<WORD>(bytes, WORD)?;
        if found != *identifier {
            return Err(format!(
                "the identifier is {:?}, expected {:?}",
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(identifier)
            ));
        }
        Self::behind(bytes, 0)
    }

    /// The table that the offset at `at` leads to.
    fn behind(bytes: &'a [u8], at: usize) -> Result<Self, Fault> {
        let at = follow(bytes, at)?;
        let distance = i64::from(i32::from_le_bytes(array(bytes, at)?));
        let vtable = usize::try_from(at as i64 - distance)
            .map_err(|_| format!("the table at byte {at} has its fields before the file"))?;
        let vtable_bytes = usize::from(u16::from_le_bytes(array(bytes, vtable)?));
        let header = 2 * size_of::<u16>();
        let fields = vtable
            .checked_add(vtable_bytes)
            .filter(|_| vtable_bytes >= header)
            .and_then(|end| bytes.get(vtable + header..end))
            .ok_or_else(|| {
                format!(
                    "the table at byte {at} has fields of {vtable_bytes} bytes, which do not fit"
                )
            })?;
        let fields = fields.as_chunks().0;
        Ok(Self { bytes, at, fields })
    }

    /// Where field `id` lies, when it is there.
    fn position(&self, id: usize) -> Option<usize> {
        let distance = usize::from(u16::from_le_bytes(*self.fields.get(id)?));
        (distance > 0).then(|| self.at + distance)
    }

    /// The bytes of a number.
    fn number<const N: usize>(&self, id: usize) -> Result<Option<[u8; N]>, Fault> {
        self.position(id)
            .map(|at| array(self.bytes, at))
            .transpose()
    }

    /// A byte, 0 when it is missing.
    pub(super) fn u8(&self, id: usize) -> Result<u8, Fault> {
        Ok(self.number::<1>(id)?.map_or(0, |[byte]| byte))
    }

    /// A number, `default` when it is missing.
    pub(super) fn i32(&self, id: usize, default: i32) -> Result<i32, Fault> {
        Ok(self.number(id)?.map_or(default, i32::from_le_bytes))
    }

    /// A number, 0 when it is missing.
    pub(super) fn u32(&self, id: usize) -> Result<u32, Fault> {
        Ok(self.number(id)?.map_or(0, u32::from_le_bytes))
    }

    /// A number, 0 when it is missing.
    pub(super) fn u64(&self, id: usize) -> Result<u64, Fault> {
        Ok(self.number(id)?.map_or(0, u64::from_le_bytes))
    }

    /// A number, 0 when it is missing.
    pub(super) fn f32(&self, id: usize) -> Result<f32, Fault> {
        Ok(self.number(id)?.map_or(0.0, f32::from_le_bytes))
    }

    /// A table, when it is there.
    pub(super) fn table(&self, id: usize) -> Result<Option<Self>, Fault> {
        self.position(id)
            .map(|at| Self::behind(self.bytes, at))
            .transpose()
    }

    /// A vector of tables, empty when it is missing.
    pub(super) fn tables(&self, id: usize) -> Result<Tables<'a>, Fault> {
        let (at, offsets) = self.vector(id)?;
        Ok(Tables {
            bytes: self.bytes,
            at,
            offsets,
        })
    }

    /// The elements, of N bytes, of a vector of numbers; empty when it is missing.
    pub(super) fn numbers<const N: usize>(&self, id: usize) -> Result<&'a [[u8; N]], Fault> {
        Ok(self.vector(id)?.1)
    }

    /// The bytes of a vector of bytes, empty when it is missing.
    pub(super) fn bytes(&self, id: usize) -> Result<&'a [u8], Fault> {
        Ok(self.vector::<1>(id)?.1.as_flattened())
    }

    /// A text, empty when it is missing.
    pub(super) fn text(&self, id: usize) -> Result<&'a str, Fault> {
        str::from_utf8(self.bytes(id)?).map_err(|error| format!("a name is no UTF-8: {error}"))
    }

    /// Where the elements of a vector begin, and they.
    fn vector<const N: usize>(&self, id: usize) -> Result<(usize, &'a [[u8; N]]), Fault> {
        let Some(at) = self.position(id) else {
            return Ok((0, &[]));
        };
        let at = follow(self.bytes, at)?;
        let count = u32::from_le_bytes(array(self.bytes, at)?) as usize;
        let first = at + WORD;
        let elements = count
            .checked_mul(N)
            .and_then(|length| first.checked_add(length))
            .and_then(|end| self.bytes.get(first..end))
            .ok_or_else(|| {
                format!(
                    "the vector at byte {at} has {count} elements of {N} bytes, the file ends at byte {}",
                    self.bytes.len()
                )
            })?;
        Ok((first, elements.as_chunks().0))
    }
}

impl<'a> Tables<'a> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// One of them.
    pub(super) fn get(&self, index: usize) -> Result<Table<'a>, Fault> {
        if index >= self.len() {
            return Err(format!("index {index}, expected less than {}", self.len()));
        }
        Table::behind(self.bytes, self.at + index * WORD)
    }
}

/// Where the unsigned offset at `at` leads.
fn follow(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let offset = u32::from_le_bytes(array(bytes, at)?) as usize;
    at.checked_add(offset)
        .filter(|&to| to < bytes.len())
        .ok_or_else(|| {
            format!(
                "the offset at byte {at} leads {offset} bytes on, the file ends at byte {}",
                bytes.len()
            )
        })
}

/// The N bytes at `at`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Fault> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(|| {
            format!(
                "{N} bytes expected at byte {at}, the file ends at byte {}",
                bytes.len()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table whose field 0 is a vector of bytes `offset` bytes on, of which it has `count`, and two are there.
    fn sample(offset: u32, count: u32) -> Vec<u8> {
        let fields = [6_u16, 8, 4, 0];
        let words = [8, offset, count];
        let mut bytes = [16_u32.to_le_bytes(), *b"TEST"].concat();
        bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(b"ab");
        bytes
    }

    #[test]
    fn fields_that_are_there_and_missing_are_read() {
        let bytes = sample(4, 2);
        let table = Table::root(&bytes, b"TEST").expect("a table");
        assert_eq!(table.text(0).as_deref(), Ok("ab"));
        assert_eq!(table.i32(1, 7), Ok(7));
        assert_eq!(table.tables(5).map(|tables| tables.len()), Ok(0));
    }

    #[test]
    fn lengths_and_offsets_beyond_the_file_are_refused() {
        for (offset, count, said) in [
            (4, 3, "3 elements"),
            (4, u32::MAX, "4294967295 elements"),
            (1000, 2, "leads 1000 bytes on"),
            (u32::MAX, 2, "leads 4294967295 bytes on"),
        ] {
            let bytes = sample(offset, count);
            let table = Table::root(&bytes, b"TEST").expect("a table");
            let fault = table.bytes(0).expect_err(said);
            assert!(fault.contains(said), "{fault}");
        }
    }
}
