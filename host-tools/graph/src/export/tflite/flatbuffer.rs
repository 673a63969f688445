//! FlatBuffers (<https://flatbuffers.dev/internals/>), written from the root downwards.
//!
//! Offsets lead forwards, so that every table stands before what it refers to: a place is left for each offset and
//! filled in once its target is written.

/// Bytes of an offset, of a length and of the largest number of a table.
const WORD: usize = 4;
/// Where vectors of bytes begin: LiteRT reads tensors in place.
const DATA_ALIGNMENT: usize = 16;

/// What a field of a table holds.
#[derive(Clone, Debug)]
pub(super) enum Field {
    U8(u8),
    I32(i32),
    U32(u32),
    F32(f32),
    Text(String),
    /// Elements of tensors, or a FlatBuffer of its own.
    Bytes(Vec<u8>),
    I32s(Vec<i32>),
    I64s(Vec<i64>),
    F32s(Vec<f32>),
    Table(Table),
    Tables(Vec<Table>),
}

/// Fields by their number in the schema, each at most once.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Vec<(usize, Field)>);

impl Table {
    /// A table of these fields.
    pub(super) fn of(fields: impl IntoIterator<Item = (usize, Field)>) -> Self {
        Self(fields.into_iter().collect())
    }

    /// The same with one field more.
    pub(super) fn with(mut self, id: usize, field: Field) -> Self {
        self.0.push((id, field));
        self
    }
}

/// The bytes of a FlatBuffer.
pub(super) fn write(root: Table, identifier: &[u8; WORD]) -> Vec<u8> {
    let mut writer = Writer(vec![0; WORD]);
    writer.0.extend(identifier);
    let at = writer.table(root);
    writer.refer(0, at);
    writer.0
}

struct Writer(Vec<u8>);

impl Writer {
    /// Zeros until a position `beyond` bytes further is a multiple of `alignment`.
    fn align(&mut self, alignment: usize, beyond: usize) {
        let end = (self.0.len() + beyond).next_multiple_of(alignment);
        self.0.resize(end - beyond, 0);
    }

    /// Lets the offset at `from` lead to `to`.
    fn refer(&mut self, from: usize, to: usize) {
        let distance = (to - from) as u32;
        self.0[from..from + WORD].copy_from_slice(&distance.to_le_bytes());
    }

    /// Distances of the fields, then the fields, words before bytes, then what they refer to.
    fn table(&mut self, Table(mut fields): Table) -> usize {
        fields.sort_by_key(|(id, field)| (matches!(field, Field::U8(_)), *id));
        let slots = fields.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        let mut distances = vec![0u16; slots];
        let mut bytes = WORD;
        for (id, field) in &fields {
            distances[*id] = bytes as u16;
            bytes += if matches!(field, Field::U8(_)) {
                1
            } else {
                WORD
            };
        }
        let header = [2 * (slots as u16 + 2), bytes as u16];
        let header_bytes = usize::from(header[0]);
        self.align(WORD, header_bytes);
        let words = header.iter().chain(&distances);
        self.0.extend(words.flat_map(|word| word.to_le_bytes()));
        let at = self.0.len();
        self.0.extend((header_bytes as i32).to_le_bytes());
        let mut references = Vec::new();
        for (_, field) in fields {
            match field {
                Field::U8(number) => self.0.push(number),
                Field::I32(number) => self.0.extend(number.to_le_bytes()),
                Field::U32(number) => self.0.extend(number.to_le_bytes()),
                Field::F32(number) => self.0.extend(number.to_le_bytes()),
                other => {
                    references.push((self.0.len(), other));
                    self.0.extend([0; WORD]);
                }
            }
        }
        for (from, field) in references {
            let to = self.target(field);
            self.refer(from, to);
        }
        at
    }

    /// What an offset leads to.
    fn target(&mut self, field: Field) -> usize {
        match field {
            Field::Text(text) => {
                let at = self.vector(text.len(), WORD, text.as_bytes().iter().map(|&b| [b]));
                self.0.push(0);
                at
            }
            Field::Bytes(bytes) => {
                self.vector(bytes.len(), DATA_ALIGNMENT, bytes.iter().map(|&b| [b]))
            }
            Field::I32s(numbers) => self.vector(
                numbers.len(),
                WORD,
                numbers.iter().map(|number| number.to_le_bytes()),
            ),
            Field::F32s(numbers) => self.vector(
                numbers.len(),
                WORD,
                numbers.iter().map(|number| number.to_le_bytes()),
            ),
            Field::I64s(numbers) => self.vector(
                numbers.len(),
                size_of::<i64>(),
                numbers.iter().map(|number| number.to_le_bytes()),
            ),
            Field::Table(table) => self.table(table),
            Field::Tables(tables) => {
                let at = self.vector(tables.len(), WORD, tables.iter().map(|_| [0; WORD]));
                for (index, table) in tables.into_iter().enumerate() {
                    let to = self.table(table);
                    self.refer(at + WORD * (index + 1), to);
                }
                at
            }
            // Numbers lie in their table.
            Field::U8(_) | Field::I32(_) | Field::U32(_) | Field::F32(_) => self.0.len(),
        }
    }

    /// A length and that many elements, the first of them aligned.
    fn vector<const N: usize>(
        &mut self,
        len: usize,
        alignment: usize,
        elements: impl Iterator<Item = [u8; N]>,
    ) -> usize {
        self.align(alignment, WORD);
        let at = self.0.len();
        self.0.extend((len as u32).to_le_bytes());
        self.0.extend(elements.flatten());
        at
    }
}
