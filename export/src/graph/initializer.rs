//! Constants of a graph, whose values are read when the file is written.

use std::io::{self, Write};

use half::f16;

use crate::tensor::Tensor;
use florence2_layout::onnx::{DataType, EXTERNAL, TensorProto, entry};

/// Number of values that are converted to bytes at a time.
const CHUNK: usize = 1 << 14;

/// The bytes of a constant, piece by piece.
type Pieces<'a> = Box<dyn Iterator<Item = Vec<u8>> + 'a>;

/// An element type of tensors.
pub(crate) trait Element: Copy + 'static {
    const DATA_TYPE: DataType;

    /// Appends the value in little-endian order, as in `raw_data`.
    fn append_to(self, bytes: &mut Vec<u8>);

    /// The tensor if it is of 32-bit floats.
    fn as_floats<'t, 'a>(_tensor: &'t Tensor<'a, Self>) -> Option<&'t Tensor<'a>> {
        None
    }
}

impl Element for f32 {
    const DATA_TYPE: DataType = DataType::Float;

    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn as_floats<'t, 'a>(tensor: &'t Tensor<'a>) -> Option<&'t Tensor<'a>> {
        Some(tensor)
    }
}

macro_rules! element {
    ($($element:ty => $data_type:ident),* $(,)?) => {$(
        impl Element for $element {
            const DATA_TYPE: DataType = DataType::$data_type;

            fn append_to(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

element! { f16 => Float16, i8 => Int8, u8 => Uint8, i32 => Int32, i64 => Int64 }

/// A constant of a graph.
pub(super) struct Initializer<'a> {
    pub(super) name: String,
    shape: Vec<usize>,
    data_type: DataType,
    byte_len: u64,
    bytes: Box<dyn Fn() -> Pieces<'a> + 'a>,
}

impl<'a> Initializer<'a> {
    pub(super) fn new<T: Element>(tensor: Tensor<'a, T>) -> Self {
        Initializer {
            name: tensor.name().to_owned(),
            shape: tensor.shape().to_vec(),
            data_type: T::DATA_TYPE,
            byte_len: (tensor.len() * size_of::<T>()) as u64,
            bytes: Box::new(move || pieces(tensor.values())),
        }
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// The constant with its values inside.
    pub(super) fn inline(&self) -> TensorProto {
        let mut raw_data = Vec::with_capacity(self.byte_len as usize);
        (self.bytes)().for_each(|piece| raw_data.extend(piece));
        TensorProto {
            raw_data: Some(raw_data.into()),
            ..self.header()
        }
    }

    /// The constant with its values at `offset` of the file `location`.
    pub(super) fn external(&self, location: &str, offset: u64) -> TensorProto {
        TensorProto {
            external_data: vec![
                entry("location", location),
                entry("offset", offset.to_string()),
                entry("length", self.byte_len.to_string()),
            ],
            data_location: Some(EXTERNAL),
            ..self.header()
        }
    }

    pub(super) fn write_to(&self, file: &mut dyn Write) -> io::Result<()> {
        (self.bytes)().try_for_each(|piece| file.write_all(&piece))
    }

    fn header(&self) -> TensorProto {
        TensorProto {
            dims: self.shape.iter().map(|&size| size as i64).collect(),
            data_type: self.data_type as i32,
            name: self.name.clone(),
            ..TensorProto::default()
        }
    }
}

fn pieces<'a, T: Element>(values: Vec<T>) -> Pieces<'a> {
    let mut start = 0;
    Box::new(std::iter::from_fn(move || {
        let piece = values.get(start..)?;
        let piece = piece.get(..CHUNK).unwrap_or(piece);
        start += piece.len();
        let mut bytes = Vec::with_capacity(size_of_val(piece));
        piece.iter().for_each(|value| value.append_to(&mut bytes));
        (!bytes.is_empty()).then_some(bytes)
    }))
}
