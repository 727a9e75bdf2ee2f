//! The processing before and after the graphs: images, the tokenizer, parsing of answers, drawing. Needs no ONNX Runtime.

mod draw;
mod interface;
mod masks;
mod postprocess;
mod preprocess;
mod tokenizer;
