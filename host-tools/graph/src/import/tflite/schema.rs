//! The part of TFLite's schema, version 3, that import needs
//! (<https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs>): numbers of
//! fields, of types and of operators. Tables are read when they are asked for.

use super::flatbuffer::{Fault, Table, Tables};

/// Of every TFLite file.
const IDENTIFIER: &[u8; 4] = b"TFL3";
/// The only version in use.
const VERSION: u32 = 3;
/// Most operators and most tensors of a file.
const MAX_ITEMS: usize = 1 << 16;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// A file: the tables of its only subgraph.
pub(super) struct Model<'a> {
    bytes: &'a [u8],
    root: Table<'a>,
    codes: Tables<'a>,
    buffers: Tables<'a>,
    graph: Table<'a>,
    tensors: Tables<'a>,
    operators: Tables<'a>,
}

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    F32,
    F16,
    I32,
    U8,
    I64,
    I8,
    /// Its number in the schema.
    Other(u8),
}

/// A tensor without its elements.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo<'a> {
    pub(super) name: &'a str,
    pub(super) shape: Vec<usize>,
    pub(super) element: ElementType,
    /// Bytes of the elements, empty unless it is a constant.
    pub(super) data: &'a [u8],
    /// One, or one for each index of `dimension`; empty where the tensor is not quantised.
    pub(super) scales: &'a [[u8; 4]],
    pub(super) zero_points: &'a [[u8; 8]],
    pub(super) dimension: usize,
}

/// An operator: tensors by index, −1 for an optional input that is left out.
pub(super) struct Operator<'a> {
    pub(super) code: i32,
    /// The name of a custom operator, empty for the others.
    pub(super) custom: &'a str,
    pub(super) inputs: Vec<i32>,
    pub(super) outputs: Vec<i32>,
    pub(super) options: Option<Table<'a>>,
}

impl<'a> Model<'a> {
    /// The tables of a file.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, Fault> {
        let root = Table::root(bytes, IDENTIFIER)?;
        let version = root.u32(0)?;
        if version != VERSION {
            return Err(format!("schema version {version}, expected {VERSION}"));
        }
        let graphs = root.tables(2)?;
        if graphs.len() != 1 {
            return Err(format!("{} subgraphs, expected 1", graphs.len()));
        }
        let graph = graphs.get(0)?;
        let (tensors, operators) = (graph.tables(0)?, graph.tables(3)?);
        for (what, items) in [("tensors", tensors), ("operators", operators)] {
            if items.len() > MAX_ITEMS {
                return Err(format!(
                    "{} {what}, expected at most {MAX_ITEMS}",
                    items.len()
                ));
            }
        }
        Ok(Self {
            bytes,
            root,
            codes: root.tables(1)?,
            buffers: root.tables(4)?,
            graph,
            tensors,
            operators,
        })
    }

    /// How many tensors there are.
    pub(super) fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// How many operators there are.
    pub(super) fn operator_count(&self) -> usize {
        self.operators.len()
    }

    /// Inputs of the whole, as indices of tensors.
    pub(super) fn inputs(&self) -> Result<Vec<usize>, Fault> {
        self.indices(self.graph, 1)?
            .into_iter()
            .map(|index| self.known(index))
            .collect()
    }

    /// Outputs of the whole, as indices of tensors.
    pub(super) fn outputs(&self) -> Result<Vec<usize>, Fault> {
        self.indices(self.graph, 2)?
            .into_iter()
            .map(|index| self.known(index))
            .collect()
    }

    /// Of the subgraph, for people.
    pub(super) fn name(&self) -> Result<&'a str, Fault> {
        self.graph.text(4)
    }

    /// The bytes of a piece of metadata.
    pub(super) fn metadata(&self, name: &str) -> Result<Option<&'a [u8]>, Fault> {
        let pieces = self.root.tables(6)?;
        for index in 0..pieces.len().min(MAX_ITEMS) {
            let piece = pieces.get(index)?;
            if piece.text(0)? == name {
                return self.data(piece.u32(1)?).map(Some);
            }
        }
        Ok(None)
    }

    fn known(&self, index: i32) -> Result<usize, Fault> {
        let count = self.tensors.len();
        usize::try_from(index)
            .ok()
            .filter(|&index| index < count)
            .ok_or_else(|| format!("tensor {index}, expected 0 to {count} without it"))
    }

    /// A vector of indices; no operator has as many as a file may have tensors.
    fn indices(&self, table: Table<'a>, id: usize) -> Result<Vec<i32>, Fault> {
        let numbers = table.numbers(id)?;
        if numbers.len() > MAX_ITEMS {
            return Err(format!(
                "{} indices of tensors, expected at most {MAX_ITEMS}",
                numbers.len()
            ));
        }
        Ok(numbers.iter().map(|&b| i32::from_le_bytes(b)).collect())
    }

    /// One operator.
    pub(super) fn operator(&self, index: usize) -> Result<Operator<'a>, Fault> {
        let table = self.operators.get(index)?;
        let code = self.codes.get(table.u32(0)? as usize)?;
        // Files from before code 127 have the code in a byte of its own.
        let number = code.i32(3, 0)?.max(i32::from(code.u8(0)?));
        let operator = Operator {
            code: number,
            custom: code.text(1)?,
            inputs: self.indices(table, 1)?,
            outputs: self.indices(table, 2)?,
            options: table.table(4)?,
        };
        for &input in operator.inputs.iter().filter(|&&input| input != -1) {
            self.known(input)?;
        }
        for &output in &operator.outputs {
            self.known(output)?;
        }
        Ok(operator)
    }

    /// One tensor.
    pub(super) fn tensor(&self, index: usize) -> Result<TensorInfo<'a>, Fault> {
        let table = self.tensors.get(index)?;
        let sizes = table.numbers::<4>(0)?;
        let shape: Option<Vec<usize>> = sizes
            .iter()
            .map(|&size| usize::try_from(i32::from_le_bytes(size)).ok())
            .collect();
        let shape = shape
            .filter(|shape| shape.len() <= MAX_RANK)
            .ok_or_else(|| {
                format!(
                    "a tensor of {} dimensions or with a negative one, expected at most {MAX_RANK}",
                    sizes.len()
                )
            })?;
        let mut tensor = TensorInfo {
            name: table.text(3)?,
            shape,
            element: ElementType::of(table.u8(1)?),
            data: self.data(table.u32(2)?)?,
            scales: &[],
            zero_points: &[],
            dimension: 0,
        };
        if let Some(quant) = table.table(4)? {
            tensor.scales = quant.numbers(2)?;
            tensor.zero_points = quant.numbers(3)?;
            let dimension = quant.i32(6, 0)?;
            tensor.dimension = usize::try_from(dimension)
                .map_err(|_| format!("scales along dimension {dimension}, expected 0 or more"))?;
        }
        Ok(tensor)
    }

    /// The bytes of a buffer, which large files keep behind the tables.
    fn data(&self, index: u32) -> Result<&'a [u8], Fault> {
        // Buffer 0 is empty by definition, and some writers leave it out.
        if index == 0 {
            return Ok(&[]);
        }
        let buffer = self.buffers.get(index as usize)?;
        let (data, offset, size) = (buffer.bytes(0)?, buffer.u64(1)?, buffer.u64(2)?);
        if !data.is_empty() || offset <= 1 {
            return Ok(data);
        }
        let range = usize::try_from(offset).ok().zip(usize::try_from(size).ok());
        range
            .and_then(|(at, size)| self.bytes.get(at..at.checked_add(size)?))
            .ok_or_else(|| {
                format!(
                    "buffer {index} has {size} bytes at byte {offset}, the file ends at byte {}",
                    self.bytes.len()
                )
            })
    }
}

impl ElementType {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::I32,
            3 => Self::U8,
            4 => Self::I64,
            9 => Self::I8,
            other => Self::Other(other),
        }
    }
}

/// Numbers of operators that are imported or written.
pub(crate) mod code {
    pub(crate) const ADD: i32 = 0;
    pub(crate) const AVERAGE_POOL_2D: i32 = 1;
    pub(crate) const CONCATENATION: i32 = 2;
    pub(crate) const CONV_2D: i32 = 3;
    pub(crate) const CUSTOM: i32 = 32;
    pub(crate) const DEPTHWISE_CONV_2D: i32 = 4;
    pub(crate) const DEQUANTIZE: i32 = 6;
    pub(crate) const FULLY_CONNECTED: i32 = 9;
    pub(crate) const L2_NORMALIZATION: i32 = 11;
    pub(crate) const LOGISTIC: i32 = 14;
    pub(crate) const MAX_POOL_2D: i32 = 17;
    pub(crate) const MUL: i32 = 18;
    pub(crate) const RELU: i32 = 19;
    pub(crate) const RELU6: i32 = 21;
    pub(crate) const RESHAPE: i32 = 22;
    pub(crate) const SOFTMAX: i32 = 25;
    pub(crate) const TANH: i32 = 28;
    pub(crate) const PAD: i32 = 34;
    pub(crate) const TRANSPOSE: i32 = 39;
    pub(crate) const MEAN: i32 = 40;
    pub(crate) const SUB: i32 = 41;
    pub(crate) const DIV: i32 = 42;
    pub(crate) const SQUEEZE: i32 = 43;
    pub(crate) const STRIDED_SLICE: i32 = 45;
    pub(crate) const EXP: i32 = 47;
    pub(crate) const MAXIMUM: i32 = 55;
    pub(crate) const MINIMUM: i32 = 57;
    pub(crate) const NEG: i32 = 59;
    pub(crate) const PADV2: i32 = 60;
    pub(crate) const LOG: i32 = 73;
    pub(crate) const SQRT: i32 = 75;
    pub(crate) const POW: i32 = 78;
    pub(crate) const SQUARE: i32 = 92;
    pub(crate) const LEAKY_RELU: i32 = 98;
    pub(crate) const ABS: i32 = 101;
    pub(crate) const QUANTIZE: i32 = 114;
    pub(crate) const HARD_SWISH: i32 = 117;
    pub(crate) const GELU: i32 = 150;
}

/// What the schema calls an operator.
pub(super) fn operator_name(code: i32) -> String {
    let known = usize::try_from(code)
        .ok()
        .and_then(|code| NAMES.split_whitespace().nth(code));
    known.map_or_else(|| format!("operator {code}"), str::to_owned)
}

/// Names of the operators, in the order of their numbers.
const NAMES: &str = "
    ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
    FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
    LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
    SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER
    BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE
    BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM
    ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE
    TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK
    LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL
    FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL
    REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND
    HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
    BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
    HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
    ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU
    DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2
    UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE
    STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE
    STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE
    STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG
    STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT
    STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT
    STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL
    STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE
    STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT STABLEHLO_CASE
";
