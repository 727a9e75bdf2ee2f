//! `--draw`: the files of annotated images, planned before any work is done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use florence2::{Output, OutputKind, Task};
use image::{ImageFormat, RgbImage};

use super::names;
use crate::commands::images::{Input, check_not_an_input};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::output::{Target, write_annotated};

/// The target of the annotated image of each image and task. Tasks with text answers have none.
#[derive(Debug)]
pub struct AnnotatedImages {
    /// The keys are the indices of image and task.
    targets: BTreeMap<(usize, usize), Target>,
}

impl AnnotatedImages {
    /// Plans all targets. `{name}` in `target` is replaced by the image's [name](names) and `{task}` by the task's; in a
    /// folder, files are named `{name}-{task}.png`. `results` is the target of the results, `kind` returns how a task's answer
    /// is parsed.
    ///
    /// # Errors
    /// [`Error::Usage`] if a file would be overwritten, or cannot be written as an image.
    pub fn plan(
        target: &Target,
        results: &Target,
        inputs: &[Input],
        tasks: &[Task],
        kind: impl Fn(&Task) -> OutputKind,
    ) -> Result<Self> {
        let task_names = names::of_tasks(tasks);
        let drawable: Vec<(usize, &str)> = (0..)
            .zip(tasks)
            .zip(&task_names)
            .filter(|((_, task), _)| kind(task) != OutputKind::PureText)
            .map(|((number, _), name)| (number, name.as_str()))
            .collect();
        if drawable.is_empty() {
            return Err(Error::Usage(
                "--draw: none of the tasks answers with boxes or outlines; see `florence2 tasks`".into(),
            ));
        }
        let mut targets = BTreeMap::new();
        let mut taken: BTreeMap<PathBuf, String> = BTreeMap::new();
        for ((image, input), image_name) in (0..).zip(inputs).zip(names::of_images(inputs)) {
            for &(number, task_name) in &drawable {
                let Target::File(pattern) = target else {
                    targets.insert((image, number), Target::Stdout);
                    continue;
                };
                let path = path(pattern, &image_name, task_name);
                check_format(&path)?;
                check_not_an_input(&path, inputs)?;
                let what = format!("{input} ({task_name})");
                if let Some(other) = taken.insert(path.clone(), what.clone()) {
                    let advice = if other == what {
                        "the image is given twice"
                    } else {
                        "put {name} and {task} into the name, or name a folder"
                    };
                    return Err(Error::Usage(format!(
                        "--draw: {} would be written for {other} and for {what}; {advice}",
                        path.display()
                    )));
                }
                targets.insert((image, number), Target::File(path));
            }
        }
        check_stdout(&targets, results)?;
        if let Target::File(results) = results
            && taken.contains_key(results)
        {
            return Err(Error::Usage(format!(
                "--draw and --output both name {}",
                results.display()
            )));
        }
        Ok(Self { targets })
    }

    /// Writes an image with an answer drawn on it.
    pub fn draw(
        &self,
        image: usize,
        task: usize,
        pixels: &RgbImage,
        output: &Output,
        console: &Console,
    ) -> Result<()> {
        let Some(target) = self.targets.get(&(image, task)) else {
            return Ok(());
        };
        if let Target::File(path) = target {
            let folder = path.parent().unwrap_or(Path::new(""));
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        console.suspend(|| write_annotated(target, pixels, &output.parsed))?;
        if let Target::File(path) = target {
            console.note(&format!("drew {}", path.display()));
        }
        Ok(())
    }
}

fn path(pattern: &Path, image: &str, task: &str) -> PathBuf {
    let text = pattern.to_string_lossy();
    if pattern.is_dir() || text.ends_with(['/', MAIN_SEPARATOR]) {
        return pattern.join(format!("{image}-{task}.png"));
    }
    if !text.contains("{name}") && !text.contains("{task}") {
        return pattern.to_owned();
    }
    text.replace("{task}", task).replace("{name}", image).into()
}

/// Checks that the path has the extension of an image format that can be written.
fn check_format(path: &Path) -> Result<()> {
    match ImageFormat::from_path(path) {
        Ok(format) if format.writing_enabled() => Ok(()),
        _ => Err(Error::Usage(format!(
            "--draw: {} is not the name of an image that can be written (.png, .jpg, .webp, ...); a folder's name \
             ends with {MAIN_SEPARATOR}",
            path.display()
        ))),
    }
}

/// Checks that stdout gets one image and nothing else.
fn check_stdout(targets: &BTreeMap<(usize, usize), Target>, results: &Target) -> Result<()> {
    let count = targets
        .values()
        .filter(|target| **target == Target::Stdout)
        .count();
    match (count, results) {
        (0, _) | (1, Target::File(_)) => Ok(()),
        (1, Target::Stdout) => Err(Error::Usage(
            "--draw - writes the image to stdout; write the results to a file with -o FILE".into(),
        )),
        _ => Err(Error::Usage(format!(
            "--draw -: stdout takes one image, not {count}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str, inputs: &[&str], tasks: &[Task]) -> Result<Vec<Target>> {
        let inputs: Vec<Input> = inputs.iter().map(|path| Input::File(path.into())).collect();
        let target = Target::from(std::ffi::OsString::from(target));
        Ok(
            AnnotatedImages::plan(&target, &Target::Stdout, &inputs, tasks, Task::output_kind)?
                .targets
                .into_values()
                .collect(),
        )
    }

    const OD: Task = Task::ObjectDetection;

    #[test]
    fn names_are_made_from_patterns_and_in_folders() {
        let file = |path: &str| Target::File(path.into());
        let tasks = [OD, Task::Caption, Task::OcrWithRegion];
        assert_eq!(
            plan("out/", &["x/a.jpg"], &tasks).unwrap(),
            [file("out/a-od.png"), file("out/a-ocr-with-region.png")]
        );
        assert_eq!(
            plan("{task}/{name}.jpg", &["a.b.png", "c.png"], &[OD]).unwrap(),
            [file("od/a.b.jpg"), file("od/c.jpg")]
        );
        assert_eq!(
            plan("out/", &["x/a.png", "y/a.png"], &[OD]).unwrap(),
            [file("out/x/a-od.png"), file("out/y/a-od.png")]
        );
        assert_eq!(
            plan("one.webp", &["a.png"], &[OD, Task::Ocr]).unwrap(),
            [file("one.webp")]
        );
    }

    #[test]
    fn targets_that_would_be_overwritten_are_rejected() {
        for (target, inputs, tasks) in [
            ("one.png", &["a.png", "b.png"][..], &[OD][..]),
            ("one.png", &["a.png"], &[OD, Task::RegionProposal]),
            ("out/", &["x/a.png", "x/a.png"], &[OD]),
            ("one.txt", &["a.png"], &[OD]),
            ("one", &["a.png"], &[OD]),
            ("one.png", &["a.png"], &[Task::Caption]),
            ("-", &["a.png"], &[OD]),
        ] {
            let error = plan(target, inputs, tasks).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{target}: {error}");
        }
    }
}
