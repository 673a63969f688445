//! A reader of Python pickles that executes nothing (opcodes: CPython `Lib/pickletools.py`, protocols 2 to 5).
//!
//! A pickle is a program for a stack machine whose `GLOBAL` and `REDUCE` call anything that Python can import. Here the
//! machine has no calls: it knows the names that PyTorch writes around tensors and refuses every other by name. Objects
//! live in one arena and refer to each other by index, so that neither deep nesting nor cycles cost stack or leak, and
//! each opcode makes at most one object, so that memory is bounded by the length of the pickle.

use thiserror::Error;

use super::element::Element;

/// Index into [`Pickle::objects`].
pub(super) type Ref = usize;

/// Most objects and stack entries of one pickle; a checkpoint of 10,000 tensors needs half a million.
const MAX_OBJECTS: usize = 4 << 20;
/// Most marks open at once.
const MAX_MARKS: usize = 1 << 10;
/// Longest name of a storage, and most arguments of a call: what is copied at each use has to be small.
const MAX_NAME_BYTES: usize = 256;
/// See [`MAX_NAME_BYTES`].
const MAX_ARGUMENTS: usize = 8;

/// Why a pickle was refused. Offsets count from its first byte.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum PickleError {
    #[error("the pickle ends at byte {offset} within an opcode or before STOP")]
    Truncated { offset: usize },
    #[error("opcode {code:#04x} at byte {offset} has no place in a checkpoint")]
    Opcode { code: u8, offset: usize },
    #[error("byte {offset} of the pickle: found {found}, expected {expected}")]
    Unexpected {
        offset: usize,
        found: String,
        expected: &'static str,
    },
    #[error("global {global} at byte {offset}")]
    Global { global: String, offset: usize },
    #[error("the pickle makes more than {limit} {what}")]
    TooMuch { what: &'static str, limit: usize },
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2` and `_rebuild_tensor`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.Size`
    Size,
    /// `torch.FloatStorage` and its kin
    Storage(Element),
}

impl Global {
    fn from_name(module: &str, name: &str) -> Option<Self> {
        let storage = |element| Some(Self::Storage(element));
        match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "Size") => Some(Self::Size),
            ("torch", "DoubleStorage") => storage(Element::F64),
            ("torch", "FloatStorage") => storage(Element::F32),
            ("torch", "HalfStorage") => storage(Element::F16),
            ("torch", "BFloat16Storage") => storage(Element::Bf16),
            ("torch", "LongStorage") => storage(Element::I64),
            ("torch", "IntStorage") => storage(Element::I32),
            ("torch", "ShortStorage") => storage(Element::I16),
            ("torch", "CharStorage") => storage(Element::I8),
            ("torch", "ByteStorage" | "BoolStorage") => storage(Element::U8),
            _ => None,
        }
    }
}

/// A storage that the file holds elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageRef {
    /// Of its elements.
    pub(super) element: Element,
    /// Name in the archive.
    pub(super) key: String,
    /// Elements.
    pub(super) len: u64,
    /// First element of a view into it; legacy files have those.
    pub(super) offset: u64,
}

/// A tensor as written: a strided view of a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    /// Where its elements are.
    pub(super) storage: StorageRef,
    /// First element.
    pub(super) offset: u64,
    /// Outermost first.
    pub(super) shape: Vec<usize>,
    /// Elements between neighbours of each dimension.
    pub(super) strides: Vec<usize>,
}

/// An object of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    /// Its value does not matter here.
    Float,
    Text(String),
    /// Their content does not matter here.
    Bytes,
    Tuple(Vec<Ref>),
    /// Lists and sets.
    List(Vec<Ref>),
    /// Keys and values in turn.
    Dict(Vec<Ref>),
    Global(Global),
    Storage(Box<StorageRef>),
    Tensor(Box<TensorRef>),
}

impl Object {
    fn describe(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Bool(value) => format!("bool {value}"),
            Self::Int(value) => format!("int {value}"),
            Self::Float => "a float".to_owned(),
            Self::Text(text) => format!("str {:?}", text.chars().take(40).collect::<String>()),
            Self::Bytes => "bytes".to_owned(),
            Self::Tuple(items) => format!("a tuple of {}", items.len()),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Dict(items) => format!("a dict of {}", items.len() / 2),
            Self::Global(global) => format!("{global:?}"),
            Self::Storage(storage) => format!("storage {}", storage.key),
            Self::Tensor(tensor) => format!("a tensor of shape {:?}", tensor.shape),
        }
    }
}

/// What a pickle built.
#[derive(Debug)]
pub(super) struct Pickle {
    /// The arena.
    pub(super) objects: Vec<Object>,
    /// The object that was on top at `STOP`.
    pub(super) root: Ref,
    /// Bytes read, `STOP` included.
    pub(super) len: usize,
}

impl Pickle {
    /// Runs a pickle over the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PickleError> {
        let mut machine = Machine {
            bytes,
            at: 0,
            opcode_at: 0,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
        };
        loop {
            if machine.step()? {
                let root = machine.pop()?;
                return Ok(Self {
                    objects: machine.objects,
                    root,
                    len: machine.at,
                });
            }
        }
    }

    /// The object at the root.
    pub(super) fn root(&self) -> &Object {
        &self.objects[self.root]
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the current opcode is, for messages.
    opcode_at: usize,
    objects: Vec<Object>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    /// Indices of memo entries are written densely; a gap holds `None`.
    memo: Vec<Option<Ref>>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; true at `STOP`.
    fn step(&mut self) -> Result<bool, PickleError> {
        self.opcode_at = self.at;
        let code = self.u8()?;
        match code {
            b'.' => return Ok(true),
            0x80 => self.protocol()?,
            0x95 => drop(self.take(8)?),
            b'(' => self.mark()?,
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.push_ref(top)?;
                self.push_ref(top)?;
            }
            b'c' | 0x93 => self.global(code)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'Q' => self.persistent_id()?,
            b'q' | b'r' | 0x94 => self.memo_put(code)?,
            b'h' | b'j' => self.memo_get(code)?,
            b'}' | b']' | b')' | 0x8f | b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => {
                self.container(code)?
            }
            b's' | b'u' | b'a' | b'e' | 0x90 => self.fill(code)?,
            _ => self.scalar(code)?,
        }
        Ok(false)
    }

    fn scalar(&mut self, code: u8) -> Result<(), PickleError> {
        let object = match code {
            b'N' => Object::None,
            0x88 => Object::Bool(true),
            0x89 => Object::Bool(false),
            b'K' => Object::Int(self.u8()?.into()),
            b'M' => Object::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Object::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                Object::Float
            }
            b'X' => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                self.text(len)?
            }
            0x8c => {
                let len = self.u8()?.into();
                self.text(len)?
            }
            0x8d => {
                let len = self.len_u64()?;
                self.text(len)?
            }
            b'C' | b'U' => {
                let len = self.u8()?.into();
                self.take(len)?;
                Object::Bytes
            }
            b'B' | b'T' => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                self.take(len)?;
                Object::Bytes
            }
            code => {
                return Err(PickleError::Opcode {
                    code,
                    offset: self.opcode_at,
                });
            }
        };
        self.push(object)
    }

    fn protocol(&mut self) -> Result<(), PickleError> {
        match self.u8()? {
            2..=5 => Ok(()),
            other => Err(self.unexpected(format!("protocol {other}"), "protocol 2 to 5")),
        }
    }

    fn container(&mut self, code: u8) -> Result<(), PickleError> {
        let object = match code {
            b'}' => Object::Dict(Vec::new()),
            b']' | 0x8f => Object::List(Vec::new()),
            b')' => Object::Tuple(Vec::new()),
            b't' => Object::Tuple(self.pop_to_mark()?),
            b'l' | 0x91 => Object::List(self.pop_to_mark()?),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.pairs(&items)?;
                Object::Dict(items)
            }
            _ => {
                let count = (code - 0x84) as usize;
                let from = self.below_top(count)?;
                Object::Tuple(self.stack.split_off(from))
            }
        };
        self.push(object)
    }

    /// `SETITEM`, `SETITEMS`, `APPEND`, `APPENDS`, `ADDITEMS`: moves items from the stack into the container below them.
    fn fill(&mut self, code: u8) -> Result<(), PickleError> {
        let items = match code {
            b's' | b'a' => {
                let from = self.below_top(if code == b's' { 2 } else { 1 })?;
                self.stack.split_off(from)
            }
            _ => self.pop_to_mark()?,
        };
        let into_dict = matches!(code, b's' | b'u');
        if into_dict {
            self.pairs(&items)?;
        }
        let target = self.top()?;
        match &mut self.objects[target] {
            Object::Dict(entries) if into_dict => entries.extend(items),
            Object::List(entries) if !into_dict => entries.extend(items),
            other => {
                let found = other.describe();
                return Err(self.unexpected(found, if into_dict { "a dict" } else { "a list" }));
            }
        }
        Ok(())
    }

    fn pairs(&self, items: &[Ref]) -> Result<(), PickleError> {
        if items.len().is_multiple_of(2) {
            Ok(())
        } else {
            Err(self.unexpected(format!("{} items", items.len()), "keys and values in turn"))
        }
    }

    fn global(&mut self, code: u8) -> Result<(), PickleError> {
        let (module, name) = if code == b'c' {
            (self.line()?, self.line()?)
        } else {
            let name = self.pop_text("the name of a global")?;
            (self.pop_text("the module of a global")?, name)
        };
        let global = Global::from_name(&module, &name).ok_or_else(|| PickleError::Global {
            global: format!("{module}.{name}"),
            offset: self.opcode_at,
        })?;
        self.push(Object::Global(global))
    }

    /// `REDUCE`: "calls" one of the known globals.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop_tuple("arguments")?;
        let callee = self.pop()?;
        let object = match self.objects[callee] {
            Object::Global(Global::OrderedDict) => self.ordered_dict(&arguments)?,
            Object::Global(Global::RebuildTensor) => {
                Object::Tensor(Box::new(self.rebuild_tensor(&arguments)?))
            }
            Object::Global(Global::RebuildParameter) => {
                match arguments.first().map(|&r| &self.objects[r]) {
                    Some(Object::Tensor(tensor)) => Object::Tensor(tensor.clone()),
                    _ => {
                        return Err(
                            self.unexpected("something else".to_owned(), "a tensor in a parameter")
                        );
                    }
                }
            }
            Object::Global(Global::Size) => match arguments.first().map(|&r| &self.objects[r]) {
                Some(Object::Tuple(sizes) | Object::List(sizes))
                    if sizes.len() <= MAX_ARGUMENTS =>
                {
                    Object::Tuple(sizes.clone())
                }
                _ => {
                    return Err(
                        self.unexpected("something else".to_owned(), "a tuple in torch.Size")
                    );
                }
            },
            ref other => {
                let found = other.describe();
                return Err(self.unexpected(found, "a function that makes tensors"));
            }
        };
        self.push(object)
    }

    /// `OrderedDict()` or `OrderedDict([[key, value], …])`, as Python 2 wrote it.
    ///
    /// The list is emptied: a second use of it would copy what is large.
    fn ordered_dict(&mut self, arguments: &[Ref]) -> Result<Object, PickleError> {
        let Some(&list) = arguments.first() else {
            return Ok(Object::Dict(Vec::new()));
        };
        let Object::List(pairs) = &mut self.objects[list] else {
            return Err(self.unexpected(self.objects[list].describe(), "a list of pairs"));
        };
        let pairs = std::mem::take(pairs);
        let mut items = Vec::with_capacity(pairs.len() * 2);
        for &pair in &pairs {
            match &self.objects[pair] {
                Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => items.extend(pair),
                other => return Err(self.unexpected(other.describe(), "a pair of key and value")),
            }
        }
        Ok(Object::Dict(items))
    }

    /// (storage, first element, shape, strides, …)
    fn rebuild_tensor(&self, arguments: &[Ref]) -> Result<TensorRef, PickleError> {
        let &[storage, offset, shape, strides, ..] = arguments else {
            return Err(self.unexpected(
                format!("{} arguments", arguments.len()),
                "storage, offset, shape and strides of a tensor",
            ));
        };
        let Object::Storage(storage) = &self.objects[storage] else {
            return Err(
                self.unexpected(self.objects[storage].describe(), "the storage of a tensor")
            );
        };
        let shape = self.sizes(shape)?;
        let strides = self.sizes(strides)?;
        if shape.len() != strides.len() {
            return Err(self.unexpected(
                format!("shape {shape:?} with strides {strides:?}"),
                "as many strides as dimensions",
            ));
        }
        Ok(TensorRef {
            storage: StorageRef::clone(storage),
            offset: self.size(offset)? as u64,
            shape,
            strides,
        })
    }

    /// `BUILD` sets attributes (`_metadata` of a state dict); they are dropped.
    fn build(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        let target = self.top()?;
        match &self.objects[target] {
            Object::Dict(_) => Ok(()),
            other => Err(self.unexpected(other.describe(), "a dict to set attributes of")),
        }
    }

    /// ("storage", type, key, location, elements[, view]) stands for bytes elsewhere in the file.
    fn persistent_id(&mut self) -> Result<(), PickleError> {
        const EXPECTED: &str = "(\"storage\", type, key, location, elements)";
        let id = self.pop_tuple(EXPECTED)?;
        let &[kind, element, key, _location, len, ref view @ ..] = id.as_slice() else {
            return Err(self.unexpected(format!("a tuple of {}", id.len()), EXPECTED));
        };
        let (Object::Text(kind), Object::Global(Global::Storage(element)), Object::Text(key)) = (
            &self.objects[kind],
            &self.objects[element],
            &self.objects[key],
        ) else {
            return Err(self.unexpected(self.objects[element].describe(), EXPECTED));
        };
        if kind != "storage" || key.len() > MAX_NAME_BYTES {
            return Err(self.unexpected("another text".to_owned(), EXPECTED));
        }
        let storage = StorageRef {
            element: *element,
            key: key.clone(),
            len: self.size(len)? as u64,
            offset: self.view_offset(view)?,
        };
        self.push(Object::Storage(Box::new(storage)))
    }

    /// (key, offset, elements) of a view, or None.
    fn view_offset(&self, view: &[Ref]) -> Result<u64, PickleError> {
        match view.first().map(|&r| &self.objects[r]) {
            None | Some(Object::None) => Ok(0),
            Some(Object::Tuple(view)) if view.len() == 3 => Ok(self.size(view[1])? as u64),
            Some(other) => {
                Err(self.unexpected(other.describe(), "(key, offset, elements) of a view"))
            }
        }
    }

    fn memo_put(&mut self, code: u8) -> Result<(), PickleError> {
        let index = match code {
            b'q' => self.u8()?.into(),
            b'r' => u32::from_le_bytes(self.array()?) as usize,
            _ => self.memo.len(),
        };
        let top = self.top()?;
        if index >= MAX_OBJECTS {
            return Err(PickleError::TooMuch {
                what: "memo entries",
                limit: MAX_OBJECTS,
            });
        }
        if index >= self.memo.len() {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(top);
        Ok(())
    }

    fn memo_get(&mut self, code: u8) -> Result<(), PickleError> {
        let index = match code {
            b'h' => self.u8()?.into(),
            _ => u32::from_le_bytes(self.array()?) as usize,
        };
        match self.memo.get(index).copied().flatten() {
            Some(object) => self.push_ref(object),
            None => Err(self.unexpected(format!("memo {index}"), "a memo entry written before")),
        }
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MAX_MARKS {
            return Err(PickleError::TooMuch {
                what: "nested marks",
                limit: MAX_MARKS,
            });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn push(&mut self, object: Object) -> Result<(), PickleError> {
        if self.objects.len() == MAX_OBJECTS {
            return Err(PickleError::TooMuch {
                what: "objects",
                limit: MAX_OBJECTS,
            });
        }
        self.objects.push(object);
        self.push_ref(self.objects.len() - 1)
    }

    fn push_ref(&mut self, object: Ref) -> Result<(), PickleError> {
        if self.stack.len() == MAX_OBJECTS {
            return Err(PickleError::TooMuch {
                what: "stack entries",
                limit: MAX_OBJECTS,
            });
        }
        self.stack.push(object);
        Ok(())
    }

    /// Where the top `count` entries begin, all above the last mark.
    fn below_top(&self, count: usize) -> Result<usize, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(from) if from >= floor => Ok(from),
            _ => Err(self.unexpected("an empty stack".to_owned(), "an operand")),
        }
    }

    fn pop(&mut self) -> Result<Ref, PickleError> {
        let from = self.below_top(1)?;
        let top = self.stack[from];
        self.stack.truncate(from);
        Ok(top)
    }

    fn top(&self) -> Result<Ref, PickleError> {
        Ok(self.stack[self.below_top(1)?])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Ref>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.unexpected("no mark".to_owned(), "a mark on the stack")),
        }
    }

    fn pop_tuple(&mut self, expected: &'static str) -> Result<Vec<Ref>, PickleError> {
        let top = self.pop()?;
        match &self.objects[top] {
            Object::Tuple(items) if items.len() <= MAX_ARGUMENTS => Ok(items.clone()),
            other => Err(self.unexpected(other.describe(), expected)),
        }
    }

    fn pop_text(&mut self, expected: &'static str) -> Result<String, PickleError> {
        let top = self.pop()?;
        match &self.objects[top] {
            Object::Text(text) if text.len() <= MAX_NAME_BYTES => Ok(text.clone()),
            other => Err(self.unexpected(other.describe(), expected)),
        }
    }

    fn size(&self, object: Ref) -> Result<usize, PickleError> {
        match self.objects[object] {
            Object::Int(value) if (0..=1 << 40).contains(&value) => Ok(value as usize),
            ref other => Err(self.unexpected(other.describe(), "a size from 0 to 2^40")),
        }
    }

    fn sizes(&self, object: Ref) -> Result<Vec<usize>, PickleError> {
        match &self.objects[object] {
            Object::Tuple(items) if items.len() <= MAX_ARGUMENTS => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            other => Err(self.unexpected(other.describe(), "a tuple of at most 8 sizes")),
        }
    }

    fn unexpected(&self, found: String, expected: &'static str) -> PickleError {
        PickleError::Unexpected {
            offset: self.opcode_at,
            found,
            expected,
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], PickleError> {
        let end = self
            .at
            .checked_add(len)
            .filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err(PickleError::Truncated {
                offset: self.bytes.len(),
            });
        };
        let slice = &self.bytes[self.at..end];
        self.at = end;
        Ok(slice)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, PickleError> {
        Ok(self.take(1)?[0])
    }

    fn len_u64(&mut self) -> Result<usize, PickleError> {
        let len = u64::from_le_bytes(self.array()?);
        usize::try_from(len).map_err(|_| PickleError::Truncated {
            offset: self.bytes.len(),
        })
    }

    fn text(&mut self, len: usize) -> Result<Object, PickleError> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Object::Text(text.to_owned())),
            Err(_) => Err(self.unexpected("other bytes".to_owned(), "UTF-8 text")),
        }
    }

    /// A module or name: up to the newline, short and ASCII.
    fn line(&mut self) -> Result<String, PickleError> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(256).position(|&byte| byte == b'\n') else {
            return Err(self.unexpected(
                "no end of line".to_owned(),
                "a name of at most 255 characters",
            ));
        };
        self.at += end + 1;
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// Little-endian two's complement of any length; longer than 8 bytes only the legacy magic number is.
    fn long(&mut self) -> Result<Object, PickleError> {
        let len = self.u8()? as usize;
        let bytes = self.take(len)?;
        if len > 8 {
            return Ok(Object::Bytes);
        }
        let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..len].copy_from_slice(bytes);
        Ok(Object::Int(i64::from_le_bytes(wide)))
    }
}
