//! Edits of ONNX files: protobuf messages as lists of fields; only edited fields are parsed.

/// Fields of `onnx.proto`.
mod field {
    pub const MODEL_GRAPH: u64 = 7;
    pub const GRAPH_INPUT: u64 = 11;
    pub const GRAPH_OUTPUT: u64 = 12;
    pub const VALUE_NAME: u64 = 1;
    pub const VALUE_TYPE: u64 = 2;
    pub const TYPE_TENSOR: u64 = 1;
    pub const TENSOR_ELEMENT: u64 = 1;
    pub const TENSOR_SHAPE: u64 = 2;
    pub const SHAPE_DIM: u64 = 1;
    pub const DIM_NAME: u64 = 2;
}

/// A message.
#[derive(Clone, Default)]
struct Message(Vec<(u64, Value)>);

#[derive(Clone)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    Fixed(u64, Vec<u8>),
}

impl Message {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = number(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(number(&mut bytes)),
                2 => {
                    let length = usize::try_from(number(&mut bytes)).unwrap();
                    Value::Bytes(take(&mut bytes, length))
                }
                1 => Value::Fixed(1, take(&mut bytes, 8)),
                5 => Value::Fixed(5, take(&mut bytes, 4)),
                kind => panic!("wire type {kind}"),
            };
            fields.push((key >> 3, value));
        }
        Self(fields)
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (field, value) in &self.0 {
            let kind = match value {
                Value::Number(_) => 0,
                Value::Bytes(_) => 2,
                Value::Fixed(kind, _) => *kind,
            };
            push_number(field << 3 | kind, &mut bytes);
            match value {
                Value::Number(number) => push_number(*number, &mut bytes),
                Value::Bytes(value) => {
                    push_number(value.len() as u64, &mut bytes);
                    bytes.extend(value);
                }
                Value::Fixed(_, value) => bytes.extend(value),
            }
        }
        bytes
    }

    /// Changes the messages in a field.
    fn edit(&mut self, field: u64, mut edit: impl FnMut(usize, &mut Message)) {
        let fields = self.0.iter_mut().filter(|(number, _)| *number == field);
        for (index, (_, value)) in fields.enumerate() {
            let Value::Bytes(bytes) = value else {
                panic!("no message")
            };
            let mut message = Message::read(bytes);
            edit(index, &mut message);
            *bytes = message.write();
        }
    }

    fn text(&self, field: u64) -> String {
        let found = self.0.iter().find(|(number, _)| *number == field);
        match found {
            Some((_, Value::Bytes(bytes))) => String::from_utf8(bytes.clone()).unwrap(),
            _ => String::new(),
        }
    }

    fn set(&mut self, field: u64, value: Value) {
        self.0.retain(|(number, _)| *number != field);
        self.0.push((field, value));
    }
}

fn number(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn push_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken.to_vec()
}

/// Changes each input and output whose name `is_meant`.
fn edit_values(model: &[u8], is_meant: &dyn Fn(&str) -> bool, edit: &dyn Fn(&mut Message)) -> Vec<u8> {
    let mut message = Message::read(model);
    let mut found = 0;
    message.edit(field::MODEL_GRAPH, |_, graph| {
        for values in [field::GRAPH_INPUT, field::GRAPH_OUTPUT] {
            graph.edit(values, |_, value| {
                if is_meant(&value.text(field::VALUE_NAME)) {
                    edit(value);
                    found += 1;
                }
            });
        }
    });
    assert!(found > 0, "there is no such input or output");
    message.write()
}

fn edit_tensor(value: &mut Message, edit: &dyn Fn(&mut Message)) {
    value.edit(field::VALUE_TYPE, |_, kind| {
        kind.edit(field::TYPE_TENSOR, |_, tensor| edit(tensor));
    });
}

/// Returns the model with a free size of this name along an axis of the inputs and outputs whose names `is_meant`.
pub fn with_free_size(model: &[u8], is_meant: impl Fn(&str) -> bool, axis: usize, name: &str) -> Vec<u8> {
    edit_values(model, &is_meant, &|value| {
        edit_tensor(value, &|tensor| {
            tensor.edit(field::TENSOR_SHAPE, |_, shape| {
                shape.edit(field::SHAPE_DIM, |index, size| {
                    if index == axis {
                        *size = Message::default();
                        size.set(field::DIM_NAME, Value::Bytes(name.into()));
                    }
                });
            });
        });
    })
}

/// Returns the model with another type of an input or output, by its number in `TensorProto.DataType`.
pub fn with_element_type(model: &[u8], name: &str, data_type: u64) -> Vec<u8> {
    edit_values(model, &|value| value == name, &|value| {
        edit_tensor(value, &|tensor| {
            tensor.set(field::TENSOR_ELEMENT, Value::Number(data_type))
        });
    })
}

/// Returns the model without an output.
pub fn without_output(model: &[u8], name: &str) -> Vec<u8> {
    let mut message = Message::read(model);
    message.edit(field::MODEL_GRAPH, |_, graph| {
        let before = graph.0.len();
        graph.0.retain(|(field, value)| match value {
            Value::Bytes(bytes) if *field == field::GRAPH_OUTPUT => {
                Message::read(bytes).text(field::VALUE_NAME) != name
            }
            _ => true,
        });
        assert_eq!(graph.0.len() + 1, before, "there is no output {name}");
    });
    message.write()
}

/// Returns the model with a value renamed wherever it is used or made.
pub fn with_renamed(model: &[u8], name: &str, other: &str) -> Vec<u8> {
    assert_eq!(
        name.len(),
        other.len(),
        "lengths stay, so that no message's does change"
    );
    let mut bytes = model.to_vec();
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|&at| bytes[at..].starts_with(name.as_bytes()))
        .collect();
    assert!(!places.is_empty(), "{name}");
    for at in places {
        bytes[at..at + name.len()].copy_from_slice(other.as_bytes());
    }
    bytes
}

#[test]
fn an_unedited_model_is_written_unchanged() {
    let model = super::exported(florence2_export::GraphFile::DecoderModelMerged, super::FP32);
    assert!(Message::read(&model).write() == model);
}
