//! Graphs that ONNX Runtime's own optimizers fail on.

use crate::error::{Error, Result};
use crate::runtime::SessionOptions;

/// The suffix of optimizers that make one operator of several.
const FUSION: &str = "Fusion";

/// Loads a graph; if an optimizer of ONNX Runtime fails, loads it again with that optimizer disabled. (Published
/// float16 vision encoders fail in `SimplifiedLayerNormFusion`, which looks for a value that was replaced.)
pub(super) fn load_around_optimizers<T>(
    graph: &str,
    options: &SessionOptions,
    load: impl Fn(&SessionOptions) -> Result<T>,
) -> Result<T> {
    let mut options = options.clone();
    loop {
        let (context, source) = match load(&options) {
            Err(Error::Ort { context, source }) => (context, source),
            result => return result,
        };
        match failing_optimizer(&source.to_string()) {
            Some(optimizer) if !options.disabled_optimizers.contains(&optimizer) => {
                tracing::warn!(
                    graph,
                    optimizer,
                    error = &*source as &dyn std::error::Error,
                    "an optimizer of ONNX Runtime fails on this graph and is disabled, which may be slower"
                );
                options = options.without_optimizer(&optimizer);
            }
            _ => return Err(Error::Ort { context, source }),
        }
    }
}

/// Returns the optimizer that a message of ONNX Runtime names: by itself, or at the end of a node's name.
fn failing_optimizer(message: &str) -> Option<String> {
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.ends_with(FUSION) && word.len() > FUSION.len())
        .map(str::to_owned)
        .next()
}

#[cfg(test)]
#[cfg(feature = "fetch-runtime")]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::runtime::{self, RuntimeOptions};

    /// ONNX Runtime's message for a published `vision_encoder_fp16.onnx`.
    const REFUSAL: &str = "Exception during initialization: /onnxruntime_src/onnxruntime/core/graph/graph_utils.cc:29 \
        int onnxruntime::graph_utils::GetIndexFromName(const onnxruntime::Node&, const string&, bool) itr != \
        node_args.end() was false. Attempting to get index by a name which does not exist:\
        InsertedPrecisionFreeCast_/blocks.0/blocks.0.0/spatial_block/window_attn/norm/Constant_output_0 for node: \
        /blocks.0/blocks.0.0/spatial_block/window_attn/norm/Mul/SimplifiedLayerNormFusion/";

    /// An error of ONNX Runtime, which must be running for it.
    fn refusal(message: &str) -> Error {
        runtime::init_or_fetch(&RuntimeOptions::default(), &|_| {}).unwrap();
        Error::Ort {
            context: "loading a graph".into(),
            source: ort::Error::new(message).into(),
        }
    }

    #[test]
    fn the_optimizer_is_found_in_the_message() {
        assert_eq!(
            failing_optimizer(REFUSAL).as_deref(),
            Some("SimplifiedLayerNormFusion")
        );
        for message in ["no such file", "Fusion failed", "Confusions"] {
            assert_eq!(failing_optimizer(message), None, "{message}");
        }
    }

    #[test]
    fn graphs_are_loaded_without_the_optimizers_that_fail() {
        let tried = RefCell::new(Vec::new());
        let loaded = load_around_optimizers("vision_encoder", &SessionOptions::default(), |options| {
            tried.borrow_mut().push(options.disabled_optimizers.join(";"));
            match options.disabled_optimizers.len() {
                0 => Err(refusal(REFUSAL)),
                1 => Err(refusal("Gelu/GeluFusion/: no such name")),
                _ => Ok("loaded"),
            }
        });
        assert_eq!(loaded.unwrap(), "loaded");
        assert_eq!(
            tried.into_inner(),
            [
                "",
                "SimplifiedLayerNormFusion",
                "SimplifiedLayerNormFusion;GeluFusion"
            ]
        );
    }

    #[test]
    fn a_graph_that_still_fails_is_an_error() {
        let tries = RefCell::new(0);
        let result: Result<()> = load_around_optimizers("decoder", &SessionOptions::default(), |_| {
            *tries.borrow_mut() += 1;
            Err(refusal(REFUSAL))
        });
        assert!(matches!(result, Err(Error::Ort { source, .. }) if source.to_string() == REFUSAL));
        assert_eq!(tries.into_inner(), 2);
    }
}
