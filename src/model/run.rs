//! Answering tasks about images.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;

use super::{Florence2, ImageFeatures, ImageInput};
use crate::decode::{DecodeSession, DecodingLimits, TextInput};
use crate::error::{Error, Result};
use crate::generation::{Hooks, Sequence, generate, invalid_decoder};
use crate::metrics::{Stopwatch, Timings};
use crate::options::RunOptions;
use crate::output::Output;
use crate::postprocess::{self, RawAnswer, TokenSpan};
use crate::task::Task;

impl Florence2 {
    /// Answers a task about an image, with the checkpoint's settings.
    ///
    /// `image` is a [`&RgbImage`](image::RgbImage) (as of [`load_image`](crate::load_image)), a [`&DynamicImage`](image::DynamicImage),
    /// [`&PixelValues`](crate::PixelValues) or [`&ImageFeatures`](crate::ImageFeatures). For several tasks on one image, call
    /// [`encode_image`](Self::encode_image) once, and give its features to each.
    ///
    /// # Errors
    /// If the image is empty, the task's region is not inside it, or ONNX Runtime fails;
    /// [`Error::OtherModel`] for features of another model.
    pub fn run<'a>(&self, image: impl Into<ImageInput<'a>>, task: &Task) -> Result<Output> {
        self.run_with(image, task, &RunOptions::default())
    }

    /// Answers a task about an image, with the settings in `options`.
    ///
    /// The answer is the best sequence; with `num_return_sequences`, the others are its [`Output::alternatives`].
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::InvalidOption`], [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn run_with<'a>(
        &self,
        image: impl Into<ImageInput<'a>>,
        task: &Task,
        options: &RunOptions,
    ) -> Result<Output> {
        let features = self.features(image.into(), options)?;
        only(self.generate(&[(&*features, task)], options, None)?)
    }

    /// Answers several requests in one batch. The answers are those of single runs, but for rounding (see below).
    ///
    /// An image that is given several times (the same reference) is encoded once. At most
    /// [`max_batch`](RunOptions::max_batch) requests are decoded at the same time. In the fused layout, the
    /// next request is admitted as soon as one is done; in the plain layout, the next ones when all are done. With
    /// quantized graphs, an answer can differ from a single run's if two tokens score nearly the same: rounding to 8
    /// bits amplifies last-bit differences between batch sizes, and other programs' exports may quantize rows
    /// together.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with), for the batch as a whole.
    pub fn run_batch<'a, 't, I: Into<ImageInput<'a>>>(
        &self,
        requests: impl IntoIterator<Item = (I, &'t Task)>,
        options: &RunOptions,
    ) -> Result<Vec<Output>> {
        let mut encoded: Vec<Cow<'a, ImageFeatures>> = Vec::new();
        let mut known = HashMap::new();
        let mut tasks = Vec::new();
        for (image, task) in requests {
            let image = image.into();
            let index = match known.entry(image.address()) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    encoded.push(self.features(image, options)?);
                    *entry.insert(encoded.len() - 1)
                }
            };
            tasks.push((index, task));
        }
        let requests: Vec<(&ImageFeatures, &Task)> = tasks
            .into_iter()
            .map(|(index, task)| (&*encoded[index], task))
            .collect();
        self.generate(&requests, options, None)
    }

    /// Answers a task by greedy search or sampling, and calls `on_text` with each new part of the text, without `<s>` and
    /// `</s>` unless [`skip_special_tokens`](RunOptions::skip_special_tokens) is `false`. [`Break`](ControlFlow::Break) ends
    /// the answer after it.
    ///
    /// Beam search may change earlier tokens: the checkpoint's `num_beams` does not apply.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with); [`Error::InvalidOption`] if `options` ask for several beams or sequences.
    pub fn stream<'a>(
        &self,
        image: impl Into<ImageInput<'a>>,
        task: &Task,
        options: &RunOptions,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output> {
        let mut options = options.clone();
        options.generation.num_beams.get_or_insert(1);
        options.generation.num_return_sequences.get_or_insert(1);
        let features = self.features(image.into(), &options)?;
        let stream = self.tokenizer.stream();
        let mut text = stream.with_skip_special_tokens(options.skip_special_tokens);
        let mut on_token = |token| match text.push(token) {
            whole if whole.is_empty() => ControlFlow::Continue(()),
            whole => on_text(&whole),
        };
        let output = only(self.generate(&[(&*features, task)], &options, Some(&mut on_token))?)?;
        let rest = text.finish();
        if !rest.is_empty() {
            let _ = on_text(&rest);
        }
        Ok(output)
    }

    /// Returns the prompt's token ids, which the encoder gets after the image tokens.
    ///
    /// # Errors
    /// If the task's region is not inside the image, or the prompt is too long for the model.
    pub fn prompt_ids(&self, image: &ImageFeatures, task: &Task) -> Result<Vec<u32>> {
        let prompt = self.prompts.prompt(task, image.size)?;
        let ids = self.tokenizer.encode_prompt(&prompt)?;
        let (tokens, limit) = (image.features.nrows() + ids.len(), self.generation.max_positions);
        if tokens > limit {
            return Err(Error::PromptTooLong { tokens, limit });
        }
        Ok(ids)
    }

    fn generate(
        &self,
        requests: &[(&ImageFeatures, &Task)],
        options: &RunOptions,
        on_token: Option<&mut dyn FnMut(u32) -> ControlFlow<()>>,
    ) -> Result<Vec<Output>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let config = self.generation.with_options(&options.generation)?;
        if let Some(interruption) = options.interruption() {
            return Err(interruption);
        }
        if options.max_batch == 0 {
            return Err(Error::InvalidOption {
                name: "max_batch",
                reason: "is 0; it must be at least 1".into(),
            });
        }
        let prompts: Vec<Vec<u32>> = requests
            .iter()
            .map(|(image, task)| self.prompt_ids(image, task))
            .collect::<Result<_>>()?;
        let inputs = requests
            .iter()
            .zip(&prompts)
            .map(|((image, _), prompt)| TextInput {
                features: image.view(),
                prompt,
            });
        let mut inputs: Vec<(usize, TextInput<'_>)> = inputs.enumerate().collect();
        // The longest prompt is admitted first: its cross-attention cache has capacity for all others.
        inputs.sort_by_key(|(_, input)| Reverse(input.prompt.len()));
        let (order, inputs): (Vec<usize>, Vec<TextInput<'_>>) = inputs.into_iter().unzip();
        let limits = DecodingLimits {
            max_batch: options.max_batch,
            max_length: config.max_new_tokens,
            top_k: config.only_bans_tokens() && options.logits_processors.is_empty(),
        };

        let mut timings = Timings::default();
        let mut session = DecodeSession::new(&*self.language, inputs, limits)?;
        let interruption = OnceCell::new();
        let is_cancelled = || match options.interruption() {
            Some(error) => interruption.set(error).is_ok(),
            None => false,
        };
        let mut hooks = Hooks::default()
            .with_is_cancelled(&is_cancelled)
            .with_logits_processors(options.logits_processors.clone());
        if let Some(on_token) = on_token {
            hooks = hooks.with_on_token(on_token);
        }
        let generation = Stopwatch::default();
        let found = generation.time(|| generate(&mut session, &config, hooks));
        let found = found.map_err(|error| {
            interruption
                .into_inner()
                .unwrap_or_else(|| session.with_cause(error))
        })?;
        let times = session.times();
        timings.text_encoder = times.text_encoder.seconds();
        timings.generation = generation.seconds() - timings.text_encoder;
        timings.runtime = times.runtime.seconds();
        timings.generated_tokens = found
            .iter()
            .flatten()
            .map(|sequence| sequence.token_ids.len())
            .sum();

        let mut found: Vec<(usize, Vec<Sequence>)> = order.into_iter().zip(found).collect();
        found.sort_unstable_by_key(|&(request, _)| request);
        let answers = requests.iter().zip(found).map(|((image, task), (_, sequences))| {
            let mut outputs = sequences
                .into_iter()
                .map(|sequence| self.output(image, task, sequence, timings, options));
            // A search returns at least one sequence.
            let best = outputs
                .next()
                .ok_or_else(|| invalid_decoder("it returned no sequence".into()))?;
            Ok(Output {
                alternatives: outputs.collect(),
                ..best
            })
        });
        answers.collect()
    }

    fn output(
        &self,
        image: &ImageFeatures,
        task: &Task,
        sequence: Sequence,
        mut timings: Timings,
        options: &RunOptions,
    ) -> Output {
        let postprocess = Stopwatch::default();
        let (raw_text, parsed) = postprocess.time(|| {
            let decoded = self.tokenizer.decode(&sequence.token_ids);
            let tokens: Vec<TokenSpan> = decoded
                .spans
                .into_iter()
                .zip(&sequence.token_log_probs)
                .map(|(range, &log_probability)| TokenSpan {
                    range,
                    log_probability,
                })
                .collect();
            let answer = RawAnswer {
                text: &decoded.text,
                tokens: Some(&tokens),
            };
            let parse_options = options.parse.as_ref().unwrap_or(&self.parse_options);
            let kind = self.prompts.output_kind(task);
            let parsed = postprocess::parse(kind, &answer, image.size, parse_options);
            (decoded.text, parsed)
        });
        timings.preprocess = image.preprocess_seconds;
        timings.vision_encoder = image.vision_seconds;
        timings.runtime += image.vision_runtime_seconds;
        timings.postprocess = postprocess.seconds();
        Output {
            task: task.clone(),
            image_size: image.size,
            parsed,
            raw_text,
            token_ids: sequence.token_ids,
            token_log_probs: sequence.token_log_probs,
            score: sequence.score,
            truncated: !sequence.finished,
            alternatives: Vec::new(),
            timings,
        }
    }
}

/// Returns the answer to a batch of one request.
fn only(answers: Vec<Output>) -> Result<Output> {
    let answer = answers.into_iter().next();
    answer.ok_or_else(|| invalid_decoder("it returned no sequence".into()))
}
