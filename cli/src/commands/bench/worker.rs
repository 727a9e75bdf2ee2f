//! A worker: the process that measures one configuration.
//!
//! It prints a JSON line when the model is loaded and has answered once, and one after each round: `null`, and in the
//! end its [`Outcome`]. Each round waits for a line on stdin, so that workers can take turns.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use florence2::{Florence2, ImageFeatures, RunOptions, Task};
use image::RgbImage;

use super::BenchArgs;
use super::plan::Planned;
use super::record::{Measurement, Outcome, Placement, Sample};
use crate::console::Console;
use crate::engine;
use crate::error::{Error, Result, describe};
use crate::interrupt;
use crate::output::json;

/// The option that makes `bench` a worker.
pub const OPTION: &str = "bench-worker";

/// Measures a configuration, in step with the lines on stdin.
pub fn run(args: &BenchArgs, planned: &Planned, console: &Console) -> Result<()> {
    // A terminal sends Ctrl-C to workers too, but the benchmark ends them.
    interrupt::cancelling();
    let mut lines = io::stdin().lines();
    let wait = || {
        reply(None)?;
        let line = lines
            .next()
            .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
        line.map(drop).map_err(|source| Error::Stream {
            stream: "standard input",
            source,
        })
    };
    // The model stays loaded until the benchmark has read the device's memory, after which it closes stdin.
    let (outcome, _model) = match measure(args, planned, console, wait) {
        Ok((measurement, model)) => (Outcome::Measured(measurement), Some(model)),
        Err(error) => (Outcome::Error(describe(&error)), None),
    };
    reply(Some(&outcome))?;
    lines.next();
    Ok(())
}

fn reply(outcome: Option<&Outcome>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", json(&outcome)?)
        .and_then(|()| stdout.flush())
        .map_err(Error::stdout)
}

/// Returns the measurements without their summaries, and the loaded model.
fn measure(
    args: &BenchArgs,
    planned: &Planned,
    console: &Console,
    mut wait: impl FnMut() -> Result<()>,
) -> Result<(Measurement, Florence2)> {
    let mut globals = planned.globals.clone();
    // The benchmark has already fetched the model and ONNX Runtime.
    globals.offline = true;
    let (_, image) = args.work.image()?;
    let task = args.work.task()?;
    let start = Instant::now();
    let model = engine::load(Some(&planned.model), &globals, console)?;
    let load = start.elapsed().as_secs_f64();

    let configuration = &planned.configuration;
    let batch = vec![&image; configuration.batch];
    let options = RunOptions::default()
        .with_generation(args.work.generation(configuration.num_beams))
        .with_max_batch(batch.len());
    let round = || answer(&model, &batch, &task, args.work.tokens, &options);
    let first_run = round()?.end_to_end;
    let mut samples = Vec::new();
    for number in 0..args.warmup + args.repeat {
        wait()?;
        let sample = round()?;
        if number >= args.warmup {
            samples.push(sample);
        }
    }
    let files = model.bundle().layout.files.iter();
    let measurement = Measurement {
        load,
        first_run,
        host_memory: peak_memory(),
        device_memory: None,
        graphs: files
            .map(|(graph, file)| (graph.name().to_owned(), file.clone()))
            .collect(),
        placement: placement(&model),
        samples,
        figures: BTreeMap::new(),
    };
    Ok((measurement, model))
}

/// Encodes all images of a batch, then answers the task about them together.
fn answer(
    model: &Florence2,
    batch: &[&RgbImage],
    task: &Task,
    tokens: usize,
    options: &RunOptions,
) -> Result<Sample> {
    let start = Instant::now();
    let images: Vec<ImageFeatures> = batch
        .iter()
        .map(|&image| model.encode_image(image))
        .collect::<Result<_, _>>()?;
    let answers = model.run_batch(images.iter().map(|image| (image, task)), options)?;
    let end_to_end = start.elapsed().as_secs_f64();
    if let Some(output) = answers.iter().find(|output| output.token_ids.len() != tokens) {
        return Err(Error::Worker(format!(
            "an answer has {} tokens instead of {tokens}",
            output.token_ids.len()
        )));
    }
    let mut sample = Sample {
        end_to_end,
        ..Sample::default()
    };
    for timings in answers.iter().map(|output| &output.timings) {
        sample.preprocess += timings.preprocess;
        sample.vision_encoder += timings.vision_encoder;
        sample.postprocess += timings.postprocess;
        // Each answer of a batch has the times of the whole batch.
        sample.text_encoder = timings.text_encoder;
        sample.generation = timings.generation;
    }
    sample.token = sample.generation / tokens as f64;
    Ok(sample)
}

/// Returns the number of each graph's nodes on each provider; `None` if ONNX Runtime does not report it.
fn placement(model: &Florence2) -> Option<Placement> {
    let placements = model.placements();
    let known = placements.iter().filter(|placement| placement.is_known());
    let placement: Placement = known
        .map(|placement| {
            let nodes = placement.providers.iter().map(|nodes| {
                let name = nodes.provider.trim_end_matches("ExecutionProvider");
                (name.to_owned(), nodes.nodes)
            });
            (placement.graph.clone(), nodes.collect())
        })
        .collect();
    (!placement.is_empty()).then_some(placement)
}

/// Returns this process's largest resident set so far, in bytes; `None` on systems other than Linux and macOS.
fn peak_memory() -> Option<u64> {
    // Linux's getrusage gives the parent's peak where that was larger: it outlives `exec`.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kib.checked_mul(1024)
    }
    #[cfg(target_vendor = "apple")]
    {
        use nix::sys::resource::{UsageWho, getrusage};
        u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    None
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_grows_with_use() {
        let before = peak_memory().unwrap();
        let pages = vec![1u8; 64 << 20];
        std::hint::black_box(&pages);
        assert!(peak_memory().unwrap() >= before.max(64 << 20));
    }
}
