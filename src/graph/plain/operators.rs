//! The operators of a graph, found in its file without the weights.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read, Seek};

use crate::bundle::GraphBytes;

/// How the names of ONNX Runtime's operators begin that quantise activations by the range of the whole tensor:
/// `DynamicQuantizeLinear`, `DynamicQuantizeMatMul`.
const DYNAMIC_QUANTIZE: &str = "DynamicQuantize";
/// Longer names are no operator's.
const LONGEST_NAME: u64 = 64;
/// Messages inside each other: a merged decoder has its nodes at level 5.
const DEEPEST: usize = 32;

/// Whether a graph quantises its activations by a scale that all tokens of a step share, so that a token's logits depend on
/// the tokens that are fed with it. Of a session that the application has made it is not known, and assumed.
pub(super) fn quantizes_activations(graph: &GraphBytes) -> bool {
    let found = match graph {
        GraphBytes::File(path) => File::open(path)
            .and_then(|file| Ok((file.metadata()?.len(), file)))
            .and_then(|(length, file)| has_operator(file, length)),
        GraphBytes::Memory { graph, .. } => has_operator(Cursor::new(&**graph), graph.len() as u64),
        GraphBytes::Session(_) => Ok(true),
    };
    // ONNX Runtime says what is wrong with a graph that cannot be read.
    found.unwrap_or(false)
}

fn has_operator(source: impl Read + Seek, length: u64) -> io::Result<bool> {
    let mut reader = Reader {
        source: BufReader::new(source),
        position: 0,
    };
    reader.has_operator(Message::Model, length, 0)
}

/// The messages of ONNX's format on the way to an operator's name.
#[derive(Debug, Clone, Copy)]
enum Message {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
}

/// A field of a message.
enum Field {
    Message(Message),
    OperatorName,
    /// Weights among it.
    Other,
}

impl Message {
    fn field(self, number: u64) -> Field {
        match (self, number) {
            (Message::Model, 7) | (Message::Attribute, 6 | 11) => Field::Message(Message::Graph),
            (Message::Model, 25) => Field::Message(Message::Function),
            (Message::Graph, 1) | (Message::Function, 7) => Field::Message(Message::Node),
            (Message::Node, 4) => Field::OperatorName,
            (Message::Node, 5) => Field::Message(Message::Attribute),
            _ => Field::Other,
        }
    }
}

/// Reads protobuf's wire format.
struct Reader<R> {
    source: BufReader<R>,
    position: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Whether an operator of the message that ends at `end` has a name that begins as wanted.
    fn has_operator(&mut self, message: Message, end: u64, depth: usize) -> io::Result<bool> {
        if depth > DEEPEST {
            return Err(ErrorKind::InvalidData.into());
        }
        while self.position < end {
            let key = self.varint()?;
            match key & 7 {
                0 => {
                    self.varint()?;
                }
                1 => self.skip(8)?,
                5 => self.skip(4)?,
                2 => {
                    let length = self.varint()?;
                    let inner_end = self.position.checked_add(length).filter(|&inner| inner <= end);
                    let inner_end = inner_end.ok_or(ErrorKind::InvalidData)?;
                    let is_found = match message.field(key >> 3) {
                        Field::Message(inner) => self.has_operator(inner, inner_end, depth + 1)?,
                        Field::OperatorName if length <= LONGEST_NAME => {
                            self.bytes(length)?.starts_with(DYNAMIC_QUANTIZE.as_bytes())
                        }
                        Field::OperatorName | Field::Other => {
                            self.skip(length)?;
                            false
                        }
                    };
                    if is_found {
                        return Ok(true);
                    }
                }
                _ => return Err(ErrorKind::InvalidData.into()),
            }
        }
        Ok(false)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.source.read_exact(&mut byte)?;
            self.position += 1;
            value |= u64::from(byte[0] & 127) << shift;
            if byte[0] < 128 {
                return Ok(value);
            }
        }
        Err(ErrorKind::InvalidData.into())
    }

    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        self.position += length;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> io::Result<()> {
        let offset = i64::try_from(length).map_err(|_| ErrorKind::InvalidData)?;
        self.source.seek_relative(offset)?;
        self.position += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A length-delimited field.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn node(operator: &str, attributes: &[u8]) -> Vec<u8> {
        field(1, &[field(4, operator.as_bytes()), attributes.to_vec()].concat())
    }

    fn is_found(bytes: &[u8]) -> Option<bool> {
        has_operator(Cursor::new(bytes), bytes.len() as u64).ok()
    }

    #[test]
    fn operators_are_found_among_nodes_and_in_branches() {
        let version = [8, 200, 1];
        // A weight that is called as an operator is.
        let weight = field(5, &field(8, b"DynamicQuantizeLinear"));
        let model = |nodes: &[u8]| [&version[..], &field(7, &[&weight, nodes].concat())].concat();
        let plain = [node("MatMulNBits", b""), node("Add", b"")].concat();
        assert_eq!(is_found(&model(&plain)), Some(false));
        for operator in ["DynamicQuantizeLinear", "DynamicQuantizeMatMul"] {
            let quantized = [plain.clone(), node(operator, b"")].concat();
            assert_eq!(is_found(&model(&quantized)), Some(true));
            let branch = node("If", &field(5, &field(6, &quantized)));
            assert_eq!(is_found(&model(&branch)), Some(true));
        }
        let whole = model(&plain);
        assert_eq!(is_found(&whole[..whole.len() - 1]), None);
        assert_eq!(is_found(b"<html>not found</html>"), None);
    }
}
