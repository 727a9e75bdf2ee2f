//! The answers of 8-bit graphs, compared with a plain loop over ONNX Runtime.

use std::collections::BTreeMap;

use florence2::generation::GenerationOptions;
use florence2::runtime::{GraphSource, SessionOptions, build_session};
use florence2::{RunOptions, Task};
use florence2_export::{Dtype, GraphFile};
use ndarray::Array2;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use super::{Deployment, Form, SPLIT, exported, form, scene};

const START: u32 = 2;
const BEGIN: u32 = 0;
const END: u32 = 2;
const MAX_NEW_TOKENS: usize = 40;

/// Greedy search, as other programs implement it.
struct Loop {
    embed: Session,
    first: Session,
    next: Session,
}

impl Loop {
    fn new(form: Form) -> Self {
        let session = |graph: GraphFile| {
            let source = GraphSource::memory(graph.name(), exported(graph, form));
            build_session(&source, &SessionOptions::default()).unwrap()
        };
        Self {
            embed: session(GraphFile::EmbedTokens),
            first: session(GraphFile::DecoderModel),
            next: session(GraphFile::DecoderWithPastModel),
        }
    }

    /// The tokens after the start token, which is fed with the first of them if `together`.
    fn answer(&mut self, states: &Array2<f32>, together: bool) -> Vec<u32> {
        let (length, d_model) = states.dim();
        let states = Tensor::from_array(([1, length, d_model], states.iter().copied().collect::<Vec<_>>()));
        let states = states.unwrap();
        let mask = Tensor::from_array(([1, length], vec![1i64; length])).unwrap();
        let mut caches: BTreeMap<String, DynValue> = BTreeMap::new();
        let mut tokens = vec![START];
        let mut fed = 0;
        if together {
            tokens.push(BEGIN);
        }
        loop {
            let ids: Vec<i64> = tokens[fed..].iter().map(|&id| i64::from(id)).collect();
            fed = tokens.len();
            let ids = Tensor::from_array(([1, ids.len()], ids)).unwrap();
            let mut embeds = self.embed.run(ort::inputs! { "input_ids" => ids }).unwrap();
            let embeds = embeds.remove("inputs_embeds").unwrap();
            let graph = if caches.is_empty() {
                &mut self.first
            } else {
                &mut self.next
            };
            let names: Vec<String> = graph
                .inputs()
                .iter()
                .map(|input| input.name().to_owned())
                .collect();
            let value = |name: &str| -> SessionInputValue<'_> {
                match name {
                    "inputs_embeds" => (&embeds).into(),
                    "encoder_hidden_states" => (&states).into(),
                    "encoder_attention_mask" => (&mask).into(),
                    cache => (&caches[cache]).into(),
                }
            };
            let inputs: Vec<_> = names.iter().map(|name| (name.as_str(), value(name))).collect();
            let outputs = graph.run(inputs).unwrap();
            let mut best = 0;
            let mut present = Vec::new();
            for (name, output) in outputs {
                match name.strip_prefix("present.") {
                    Some(cache) => present.push((format!("past_key_values.{cache}"), output)),
                    None => {
                        let logits = output.try_extract_array::<f32>().unwrap();
                        let logits = logits.rows().into_iter().last().unwrap();
                        let is_better = |best: usize, token: usize| logits[token] > logits[best];
                        best = (0..logits.len())
                            .reduce(|best, token| if is_better(best, token) { token } else { best })
                            .unwrap();
                    }
                }
            }
            caches.extend(present);
            tokens.push(match tokens.len() {
                1 => BEGIN,
                MAX_NEW_TOKENS => END,
                _ => u32::try_from(best).unwrap(),
            });
            if tokens.last() == Some(&END) {
                return tokens[1..].to_vec();
            }
        }
    }
}

/// The activations of a step are quantized with one scale, so that close calls depend on which tokens share a step.
#[test]
fn graphs_in_8_bits_answer_as_a_loop_of_single_tokens() {
    let generation = GenerationOptions::default()
        .with_num_beams(1)
        .with_no_repeat_ngram_size(0)
        .with_max_new_tokens(MAX_NEW_TOKENS);
    let options = RunOptions::default().with_generation(generation);
    let mut differ = 0;
    for form in [form(Dtype::Int8), form(Dtype::Uint8)] {
        let model = Deployment::new(&SPLIT, form).load();
        let mut singly = Loop::new(form);
        for image in ["ring.png", "zoo.png", "car.png"] {
            let features = model.encode_image(&scene(image)).unwrap();
            for task in [Task::ObjectDetection, Task::Caption, Task::DenseRegionCaption] {
                let states = model.encoder_hidden_states(&features, &task).unwrap();
                let expected = singly.answer(&states, false);
                let answer = model.run_with(&features, &task, &options).unwrap();
                assert_eq!(answer.token_ids, expected, "{image} {task} {}", form.dtype.name());
                differ += usize::from(singly.answer(&states, true) != expected);
            }
        }
    }
    assert!(differ > 0, "tokens that share a step make no difference");
}
