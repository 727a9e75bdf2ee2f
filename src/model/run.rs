//! Answering tasks about images.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::ops::ControlFlow;

use image::DynamicImage;

use super::{Florence2, ImageFeatures};
use crate::decode::{DecodeSession, DecodingLimits, TextInput};
use crate::error::{Error, Result};
use crate::generation::{Hooks, Sequence, generate};
use crate::metrics::{Stopwatch, Timings};
use crate::options::RunOptions;
use crate::output::Output;
use crate::postprocess::{self, RawAnswer, TokenSpan};
use crate::task::Task;

impl Florence2 {
    /// Answers a task about an image, with the checkpoint's settings.
    ///
    /// For several tasks on one image, call [`encode_image`](Self::encode_image) once and [`answer`](Self::answer)
    /// for each.
    ///
    /// # Errors
    /// If the image is empty, the task's region is not inside it, or ONNX Runtime fails.
    pub fn run(&self, image: &DynamicImage, task: &Task) -> Result<Output> {
        self.run_with(image, task, &RunOptions::default())
    }

    /// Answers a task about an image, with the settings in `options`.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::InvalidOption`], [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn run_with(&self, image: &DynamicImage, task: &Task, options: &RunOptions) -> Result<Output> {
        self.answer(&self.encode_image_with(image, options)?, task, options)
    }

    /// Answers a task about an encoded image: the best sequence.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with).
    pub fn answer(&self, image: &ImageFeatures, task: &Task, options: &RunOptions) -> Result<Output> {
        let best = self.answers(image, task, options)?.into_iter().next();
        best.ok_or(Error::InvalidOption {
            name: "num_return_sequences",
            reason: "must be 1 or more".into(),
        })
    }

    /// Answers a task about an encoded image with `num_return_sequences` sequences, the best first.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with).
    pub fn answers(&self, image: &ImageFeatures, task: &Task, options: &RunOptions) -> Result<Vec<Output>> {
        Ok(self
            .generate(&[(image, task)], options, None)?
            .into_iter()
            .next()
            .unwrap_or_default())
    }

    /// Answers several requests in one batch, each with all its sequences. The answers are those of single runs, but
    /// for rounding (see below).
    ///
    /// At most [`max_batch`](RunOptions::max_batch) requests are decoded at the same time. In the fused layout, the
    /// next request is admitted as soon as one is done; in the plain layout, the next ones when all are done. With
    /// quantized graphs, an answer can differ from a single run's if two tokens score nearly the same: rounding to 8
    /// bits amplifies last-bit differences between batch sizes, and other programs' exports may quantize rows
    /// together.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with), for the batch as a whole.
    pub fn answer_batch(
        &self,
        requests: &[(&ImageFeatures, &Task)],
        options: &RunOptions,
    ) -> Result<Vec<Vec<Output>>> {
        self.generate(requests, options, None)
    }

    /// Answers a task by greedy search or sampling (`num_beams` 1) and calls `on_text` with each new part of the text, special
    /// tokens included. [`Break`](ControlFlow::Break) ends the answer after it.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with); [`Error::InvalidOption`] with several beams or sequences.
    pub fn stream(
        &self,
        image: &ImageFeatures,
        task: &Task,
        options: &RunOptions,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Output> {
        let mut text = self.tokenizer.stream();
        let mut on_token = |token| match text.push(token) {
            whole if whole.is_empty() => ControlFlow::Continue(()),
            whole => on_text(&whole),
        };
        let outputs = self.generate(&[(image, task)], options, Some(&mut on_token))?;
        let rest = text.finish();
        if !rest.is_empty() {
            let _ = on_text(&rest);
        }
        let output = outputs.into_iter().flatten().next();
        output.ok_or(Error::InvalidOption {
            name: "num_return_sequences",
            reason: "must be 1".into(),
        })
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
    ) -> Result<Vec<Vec<Output>>> {
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
            top_k: config.only_bans_tokens(),
        };

        let mut timings = Timings::default();
        let mut session = DecodeSession::new(&*self.language, inputs, limits)?;
        let interruption = OnceCell::new();
        let is_cancelled = || match options.interruption() {
            Some(error) => interruption.set(error).is_ok(),
            None => false,
        };
        let mut hooks = Hooks::default().with_is_cancelled(&is_cancelled);
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
        let outputs = requests.iter().zip(found).map(|((image, task), (_, sequences))| {
            sequences
                .into_iter()
                .map(|sequence| self.output(image, task, sequence, timings, options))
                .collect()
        });
        Ok(outputs.collect())
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
            timings,
        }
    }
}
