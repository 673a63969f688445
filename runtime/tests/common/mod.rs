//! Writes small models for tests, with the records of the format and the plainest plan: nothing shares its bytes.
// Each test binary uses its own part of it.
#![allow(dead_code, unreachable_pub)]

pub mod bank;
pub mod half;
pub mod in_place;
pub mod run;
pub mod samples;
pub mod stem;
pub mod text;
pub mod vit;

use pinhole_runtime::model::format::{
    ALIGN_BYTES, DType, DataRef, GeometryRecord, Header, MAGIC, ModelKind, NO_VALUE, OpRecord,
    PARAMS_BYTES, PLACE_ARENA, PLACE_DATA, Section, VERSION, ValueRecord,
};
use pinhole_runtime::model::op::OpKind;
use pinhole_runtime::model::{Totals, checksum, measure};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Bytes that start at a 16-byte boundary.
#[derive(Clone, Debug)]
pub struct Aligned {
    words: Vec<u128>,
    len: usize,
}

impl Aligned {
    pub fn zeroed(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(16)],
            len,
        }
    }
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut aligned = Self::zeroed(bytes.len());
        aligned.copy_from_slice(bytes);
        aligned
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.words.as_mut_bytes()[..self.len]
    }
}

/// A stream of numbers that depend on the seed alone: splitmix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}

/// A model in the making.
#[derive(Clone)]
pub struct Builder {
    pub kind: ModelKind,
    pub values: Vec<ValueRecord>,
    pub ops: Vec<OpRecord>,
    pub data: Vec<u8>,
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub max_tokens: usize,
    pub geometry: GeometryRecord,
    pub names: String,
    pub golden: Vec<u8>,
    arena_end: usize,
}

/// The parts of an operator beside its values.
#[derive(Default)]
pub struct Parts {
    pub params: Vec<u8>,
    pub data: Vec<Vec<u8>>,
    pub scratch_bytes: usize,
}

impl Parts {
    pub fn params<T: IntoBytes + Immutable>(params: T) -> Self {
        Self {
            params: params.as_bytes().to_vec(),
            ..Self::default()
        }
    }
    pub fn data<T: IntoBytes + Immutable>(mut self, data: &[T]) -> Self {
        self.data.push(data.as_bytes().to_vec());
        self
    }
    pub fn absent(mut self) -> Self {
        self.data.push(Vec::new());
        self
    }
    pub fn scratch(mut self, bytes: Option<usize>) -> Self {
        self.scratch_bytes = bytes.unwrap();
        self
    }
}

impl Builder {
    pub fn new(kind: ModelKind) -> Self {
        Self {
            kind,
            values: Vec::new(),
            ops: Vec::new(),
            data: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            max_tokens: 0,
            geometry: GeometryRecord::default(),
            names: String::new(),
            golden: Vec::new(),
            arena_end: 0,
        }
    }

    fn take(&mut self, bytes: usize) -> u32 {
        let offset = self.arena_end;
        self.arena_end = (offset + bytes).next_multiple_of(ALIGN_BYTES);
        offset as u32
    }

    fn push(&mut self, record: ValueRecord) -> usize {
        self.values.push(record);
        self.values.len() - 1
    }

    /// A value in the arena.
    pub fn value(&mut self, dtype: DType, shape: &[usize]) -> usize {
        let offset = self.take(shape.iter().product::<usize>() * dtype.bytes());
        let quantised = matches!(dtype, DType::I8 | DType::I16);
        let record = ValueRecord {
            dtype: dtype as u8,
            rank: shape.len() as u8,
            place: PLACE_ARENA,
            dynamic: 0,
            shape: std::array::from_fn(|d| (shape.get(d).copied().unwrap_or(1) as u32).into()),
            storage: (self.values.len() as u16).into(),
            reserved: 0.into(),
            offset: offset.into(),
            scale: if quantised { 0.05 } else { 0.0 }.into(),
            zero_point: 0.into(),
        };
        self.push(record)
    }

    /// A value in the arena whose first dimension is the number of tokens.
    pub fn dynamic(&mut self, dtype: DType, shape: &[usize]) -> usize {
        self.max_tokens = shape[0];
        let index = self.value(dtype, shape);
        self.values[index].dynamic = 1;
        index
    }

    /// A model input.
    pub fn input(&mut self, index: usize) -> usize {
        self.inputs.push(index);
        index
    }

    /// A model output.
    pub fn output(&mut self, index: usize) {
        self.outputs.push(index);
    }

    /// The same bytes in another shape.
    pub fn alias(&mut self, of: usize, shape: &[usize]) -> usize {
        let mut record = self.values[of];
        record.rank = shape.len() as u8;
        record.shape = std::array::from_fn(|d| (shape.get(d).copied().unwrap_or(1) as u32).into());
        self.push(record)
    }

    /// A constant.
    pub fn constant<T: IntoBytes + Immutable>(
        &mut self,
        dtype: DType,
        shape: &[usize],
        data: &[T],
    ) -> usize {
        let offset = self.append(data.as_bytes());
        let index = self.value(dtype, shape);
        self.arena_end = self.values[index].offset.get() as usize;
        self.values[index].place = PLACE_DATA;
        self.values[index].offset = offset.into();
        index
    }

    /// Offset inside the data section; `build` adds where that lies.
    fn append(&mut self, bytes: &[u8]) -> u32 {
        self.data
            .resize(self.data.len().next_multiple_of(ALIGN_BYTES), 0);
        let offset = self.data.len() as u32;
        self.data.extend_from_slice(bytes);
        offset
    }

    pub fn op(&mut self, kind: OpKind, inputs: &[usize], output: usize, parts: Parts) {
        let mut record = OpRecord::new_zeroed();
        record.kind = (kind as u16).into();
        record.inputs =
            std::array::from_fn(|i| inputs.get(i).map_or(NO_VALUE, |&value| value as u16).into());
        record.output = (output as u16).into();
        for (reference, bytes) in record.data.iter_mut().zip(&parts.data) {
            if !bytes.is_empty() {
                *reference = DataRef {
                    offset: self.append(bytes).into(),
                    bytes: (bytes.len() as u32).into(),
                };
            }
        }
        assert!(parts.params.len() <= PARAMS_BYTES);
        record.params[..parts.params.len()].copy_from_slice(&parts.params);
        if parts.scratch_bytes != 0 {
            record.scratch_offset = self.take(parts.scratch_bytes).into();
            record.scratch_bytes = (parts.scratch_bytes as u32).into();
        }
        self.ops.push(record);
    }

    /// Moves everything in the arena apart, to `factor` times its offset.
    pub fn spread(&mut self, factor: u32) {
        let values = self
            .values
            .iter_mut()
            .filter(|value| value.place == PLACE_ARENA);
        let offsets = values.map(|value| &mut value.offset);
        for offset in offsets.chain(self.ops.iter_mut().map(|op| &mut op.scratch_offset)) {
            *offset = (offset.get() * factor).into();
        }
        self.arena_end *= factor as usize;
    }

    /// Gives an operator that writes over an input its stage.
    pub fn stage(&mut self, op: usize, bytes: usize) {
        self.ops[op].scratch_offset = self.take(bytes).into();
        self.ops[op].scratch_bytes = (bytes as u32).into();
    }

    /// The file, with the totals that `measure` finds; without them when it refuses.
    pub fn build(&self) -> Aligned {
        let mut file = vec![0; size_of::<Header>()];
        let section = |file: &mut Vec<u8>, bytes: &[u8]| {
            if bytes.is_empty() {
                return Section::default();
            }
            file.resize(file.len().next_multiple_of(ALIGN_BYTES), 0);
            let place = Section {
                offset: (file.len() as u32).into(),
                bytes: (bytes.len() as u32).into(),
            };
            file.extend_from_slice(bytes);
            place
        };
        let record_bytes = self.values.len() * size_of::<ValueRecord>();
        let ops_bytes = self.ops.len() * size_of::<OpRecord>();
        let values_start = size_of::<Header>().next_multiple_of(ALIGN_BYTES);
        let ops_start = (values_start + record_bytes).next_multiple_of(ALIGN_BYTES);
        let base = (ops_start + ops_bytes).next_multiple_of(ALIGN_BYTES) as u32;
        let (mut values, mut ops) = (self.values.clone(), self.ops.clone());
        for value in values.iter_mut().filter(|value| value.place == PLACE_DATA) {
            value.offset = (value.offset.get() + base).into();
        }
        for data in ops
            .iter_mut()
            .flat_map(|op| &mut op.data)
            .filter(|data| data.bytes.get() != 0)
        {
            data.offset = (data.offset.get() + base).into();
        }
        let mut header = Header::new_zeroed();
        header.magic = MAGIC;
        header.version = VERSION.into();
        header.model_kind = self.kind as u8;
        header.arena_bytes = (self.arena_end as u32).into();
        header.max_tokens = (self.max_tokens as u32).into();
        header.embedding_space = [7; 16];
        let slots = |values: &[usize]| -> [_; 4] {
            std::array::from_fn(|i| values.get(i).map_or(NO_VALUE, |&value| value as u16).into())
        };
        header.inputs = slots(&self.inputs);
        header.outputs = slots(&self.outputs);
        header.geometry = self.geometry;
        header.values = section(&mut file, values.as_bytes());
        header.ops = section(&mut file, ops.as_bytes());
        header.data = section(&mut file, &self.data);
        header.names = section(&mut file, self.names.as_bytes());
        header.golden = section(&mut file, &self.golden);
        header.file_bytes = (file.len() as u32).into();
        file[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        let mut file = Aligned::from_slice(&file);
        repair_totals(&mut file);
        file
    }
}

/// Fixes what the header says about the operators, when they can be measured, and the checksum.
pub fn repair_totals(file: &mut [u8]) {
    if let Ok(Totals {
        arena_bytes,
        arena_lower_bound_bytes,
        macs,
    }) = measure(file)
    {
        let (header, _) = Header::mut_from_prefix(file).unwrap();
        header.arena_bytes = (arena_bytes as u32).into();
        header.arena_lower_bound_bytes = (arena_lower_bound_bytes as u32).into();
        header.macs = macs.into();
    }
    seal(file);
}

/// Fixes the checksum alone.
pub fn seal(file: &mut [u8]) {
    let computed = checksum(file);
    if let Ok((header, _)) = Header::mut_from_prefix(file) {
        header.crc32 = computed.into();
    }
}
