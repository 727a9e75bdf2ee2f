//! Registration of custom operators.

use std::marker::PhantomData;

use ort::operator::{Kernel, KernelContext, Operator, OperatorInput, OperatorOutput, ShapeInferenceContext};
use ort::value::TensorElementType::{self, Float32};

use super::tensors;

/// A kernel, with its operator's signature.
pub(super) trait CustomOperator: Kernel + 'static {
    const NAME: &'static str;
    const INPUTS: &'static [TensorElementType];
    /// For each output, all of 32-bit floats, the input that has its shape.
    const OUTPUTS: &'static [usize];
    /// Inputs and outputs that may share memory.
    const INPLACES: &'static [(u32, u32)] = &[];

    /// Creates the kernel of a node.
    fn new(context: &KernelContext<'_>) -> ort::Result<Self>
    where
        Self: Sized;

    /// Changes the shape of an output that differs from its input's shape. Unknown sizes are -1.
    fn adjust_shape(_output: usize, _sizes: &mut [i64]) {}
}

/// Makes a [`CustomOperator`] known to ONNX Runtime.
pub(super) struct Registration<K>(PhantomData<fn() -> K>);

impl<K> Registration<K> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<K: CustomOperator> Operator for Registration<K> {
    type Kernel<'attr> = K;

    const INPLACES: &[(u32, u32)] = K::INPLACES;

    fn name(&self) -> &str {
        K::NAME
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        K::INPUTS.iter().copied().map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        K::OUTPUTS.iter().map(|_| OperatorOutput::required(Float32))
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        for (output, &input) in K::OUTPUTS.iter().enumerate() {
            tensors::output_like_input(context, output, input, |sizes| K::adjust_shape(output, sizes))?;
        }
        Ok(())
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<K> {
        K::new(context)
    }
}
