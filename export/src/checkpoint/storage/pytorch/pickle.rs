//! The part of Python's pickle format that the weights of `torch.save` need. Nothing is run: names of classes and functions
//! stand for the few constructions in [`Callable`], and any other name or opcode is an error.
//!
//! Memory is proportional to the length of the pickle: values refer to each other by index, and nothing is expanded. Nor does
//! any function recurse, so nesting has no limit.

use std::collections::HashMap;

use safetensors::Dtype;

use crate::error::PytorchError;

type Result<T> = std::result::Result<T, PytorchError>;

/// The bytes of a pickle, up to this length. That of a checkpoint of a thousand tensors has 150 KB.
const MAX_LENGTH: usize = 16 << 20;

/// A value.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Int(i64),
    Text(&'a str),
    Callable(Callable),
    Storage(Dtype),
    /// An index into [`Machine::objects`].
    Object(usize),
    /// A value that weights do not depend on, such as `None` or a list.
    Other,
}

/// A function or class that a pickle may name.
#[derive(Debug, Clone, Copy)]
enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
}

#[derive(Debug)]
enum Object<'a> {
    Tuple(Vec<Value<'a>>),
    Dict(Vec<(Value<'a>, Value<'a>)>),
    Storage(Storage<'a>),
    Tensor(Tensor<'a>),
}

/// A storage: the file of that name beside the pickle, which several tensors may share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) dtype: Dtype,
}

/// A tensor; offset and strides count elements of the storage.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Returns the tensors of a pickled dictionary by name. Of values under the same name the last one counts, as in Python.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<(&str, Tensor<'_>)>> {
    if pickle.len() > MAX_LENGTH {
        return Err(PytorchError::Malformed("the pickle has more than 16 MB"));
    }
    let mut machine = Machine {
        bytes: pickle,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
    };
    let Value::Object(top) = machine.run()? else {
        return Err(PytorchError::NoWeights);
    };
    let Some(Object::Dict(entries)) = machine.objects.get(top) else {
        return Err(PytorchError::NoWeights);
    };
    let mut tensors = Vec::new();
    for (name, value) in entries {
        let (Value::Text(name), Value::Object(value)) = (name, value) else {
            continue;
        };
        match machine.objects.get(*value) {
            Some(Object::Tensor(tensor)) => tensors.push((*name, tensor.clone())),
            Some(Object::Dict(_)) => {
                return Err(PytorchError::Nested {
                    key: (*name).to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(tensors)
}

/// The state of reading a pickle.
struct Machine<'a> {
    /// The bytes that are not read yet.
    bytes: &'a [u8],
    stack: Vec<Value<'a>>,
    /// The heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    objects: Vec<Object<'a>>,
}

impl<'a> Machine<'a> {
    /// Runs the opcodes up to the final one, and returns the pickled value.
    fn run(&mut self) -> Result<Value<'a>> {
        loop {
            let [opcode] = self.array()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.array::<1>()?), // PROTO
                0x95 => drop(self.array::<8>()?), // FRAME
                b'(' => self.marks.push(self.stack.len()),
                // NONE, NEWTRUE, NEWFALSE, EMPTY_LIST
                b'N' | 0x88 | 0x89 | b']' => self.stack.push(Value::Other),
                b'G' => {
                    self.array::<8>()?; // BINFLOAT
                    self.stack.push(Value::Other);
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.stack.push(Value::Int(value.into()));
                }
                b'K' => {
                    let value = u8::from_le_bytes(self.array()?);
                    self.stack.push(Value::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.stack.push(Value::Int(value.into()));
                }
                0x8a => self.long()?,
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(length.into())?;
                }
                0x8c => {
                    let length = u8::from_le_bytes(self.array()?);
                    self.text(length.into())?;
                }
                0x8d => {
                    let length = u64::from_le_bytes(self.array()?);
                    self.text(length)?;
                }
                b')' => self.object(Object::Tuple(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.take_to_mark()?;
                    self.object(Object::Tuple(items));
                }
                b'}' => self.object(Object::Dict(Vec::new())),
                b'a' => drop(self.pop()?),          // APPEND
                b'e' => drop(self.take_to_mark()?), // APPENDS
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.take_to_mark()?;
                    self.set_items(&items)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => match (self.pop()?, self.pop()?) {
                    (Value::Text(name), Value::Text(module)) => self.global(module, name)?,
                    _ => return Err(PytorchError::Malformed("a name is not text")),
                },
                b'R' => self.reduce()?,
                b'b' => drop(self.pop()?), // BUILD: the metadata of a state dictionary
                b'Q' => self.storage()?,
                b'q' => {
                    let index = u8::from_le_bytes(self.array()?);
                    self.remember(index.into())?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.remember(index)?;
                }
                0x94 => {
                    let index = u32::try_from(self.memo.len()).unwrap_or(u32::MAX);
                    self.remember(index)?;
                }
                b'h' => {
                    let index = u8::from_le_bytes(self.array()?);
                    self.recall(index.into())?;
                }
                b'j' => {
                    let index = u32::from_le_bytes(self.array()?);
                    self.recall(index)?;
                }
                opcode => return Err(PytorchError::Opcode(opcode)),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(PytorchError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(PytorchError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.bytes.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or(PytorchError::Truncated)?)?;
        self.take(1)?;
        text(line)
    }

    fn text(&mut self, length: u64) -> Result<()> {
        let length = usize::try_from(length).map_err(|_| PytorchError::Truncated)?;
        let value = text(self.take(length)?)?;
        self.stack.push(Value::Text(value));
        Ok(())
    }

    /// LONG1: an integer of any size; those above 64 bits occur in no tensor.
    fn long(&mut self) -> Result<()> {
        let [length] = self.array()?;
        let bytes = self.take(length.into())?;
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let mut word = [if negative { 0xff } else { 0 }; 8];
        let value = match word.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(word))
            }
            None => Value::Other,
        };
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        // Items below a mark belong to the value around it.
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = self.stack.pop().filter(|_| self.stack.len() >= floor);
        value.ok_or(PytorchError::Malformed("a value is missing on the stack"))
    }

    fn take_to_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let mark = mark.ok_or(PytorchError::Malformed("a mark is missing on the stack"))?;
        Ok(self.stack.split_off(mark))
    }

    fn object(&mut self, object: Object<'a>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let mut items = Vec::with_capacity(length);
        for _ in 0..length {
            items.push(self.pop()?);
        }
        items.reverse();
        self.object(Object::Tuple(items));
        Ok(())
    }

    /// Adds keys and values, in turn, to the dictionary on the stack.
    fn set_items(&mut self, items: &[Value<'a>]) -> Result<()> {
        let dict = match self.stack.last() {
            Some(Value::Object(index)) => self.objects.get_mut(*index),
            _ => None,
        };
        let (Some(Object::Dict(entries)), (pairs, [])) = (dict, items.as_chunks::<2>()) else {
            return Err(PytorchError::Malformed(
                "entries are set in what is no dictionary",
            ));
        };
        entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        let value = self.pop()?;
        self.stack.push(value);
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        let value = self.memo.get(&index).copied();
        self.stack
            .push(value.ok_or(PytorchError::Malformed("a reference leads nowhere"))?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let value = match (module, name) {
            ("collections", "OrderedDict") => Value::Callable(Callable::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Value::Callable(Callable::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Value::Callable(Callable::RebuildParameter),
            ("torch", "FloatStorage") => Value::Storage(Dtype::F32),
            ("torch", "HalfStorage") => Value::Storage(Dtype::F16),
            ("torch", "BFloat16Storage") => Value::Storage(Dtype::BF16),
            ("torch", "DoubleStorage") => Value::Storage(Dtype::F64),
            ("torch", "LongStorage") => Value::Storage(Dtype::I64),
            ("torch", "IntStorage") => Value::Storage(Dtype::I32),
            ("torch", "ShortStorage") => Value::Storage(Dtype::I16),
            ("torch", "CharStorage") => Value::Storage(Dtype::I8),
            ("torch", "ByteStorage") => Value::Storage(Dtype::U8),
            ("torch", "BoolStorage") => Value::Storage(Dtype::BOOL),
            _ => {
                return Err(PytorchError::Global {
                    name: format!("{module}.{name}"),
                });
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Returns the items of a tuple.
    fn items(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        match value {
            Value::Object(index) => match self.objects.get(index) {
                Some(Object::Tuple(items)) => Ok(items),
                _ => Err(PytorchError::Malformed("a value is no tuple")),
            },
            _ => Err(PytorchError::Malformed("a value is no tuple")),
        }
    }

    /// REDUCE: calls a function with arguments.
    fn reduce(&mut self) -> Result<()> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let arguments = self.items(arguments)?;
        match (callable, arguments) {
            (Value::Callable(Callable::OrderedDict), []) => self.object(Object::Dict(Vec::new())),
            (Value::Callable(Callable::RebuildParameter), [data, ..]) => {
                let data = *data;
                self.stack.push(data);
            }
            (
                Value::Callable(Callable::RebuildTensor),
                [Value::Object(storage), Value::Int(offset), shape, strides, ..],
            ) => {
                let Some(&Object::Storage(storage)) = self.objects.get(*storage) else {
                    return Err(PytorchError::Malformed("a tensor has no storage"));
                };
                let tensor = Tensor {
                    storage,
                    offset: size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                };
                self.object(Object::Tensor(tensor));
            }
            _ => {
                return Err(PytorchError::Malformed(
                    "a function is called with unexpected arguments",
                ));
            }
        }
        Ok(())
    }

    /// BINPERSID: `('storage', class, key, device, number of elements)`.
    fn storage(&mut self) -> Result<()> {
        let id = self.pop()?;
        match self.items(id)? {
            &[
                Value::Text("storage"),
                Value::Storage(dtype),
                Value::Text(key),
                ..,
            ] => {
                self.object(Object::Storage(Storage { key, dtype }));
                Ok(())
            }
            _ => Err(PytorchError::Malformed("a persistent id is no storage")),
        }
    }

    fn sizes(&self, value: Value<'a>) -> Result<Vec<usize>> {
        let sizes = self.items(value)?.iter().map(|item| match item {
            Value::Int(value) => size(*value),
            _ => Err(PytorchError::Malformed("a size is no integer")),
        });
        sizes.collect()
    }
}

fn size(value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| PytorchError::Malformed("a size is negative"))
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| PytorchError::Malformed("a text is not UTF-8"))
}
