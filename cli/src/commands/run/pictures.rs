//! `--draw`: where each annotated picture goes, settled before any work is done.

use std::collections::BTreeMap;
use std::fs;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use florence2::{Output, OutputKind, Task};
use image::{DynamicImage, ImageFormat};

use crate::commands::images::{Input, refuse_overwriting};
use crate::console::Console;
use crate::error::{Error, Result};
use crate::output::{Target, write_picture};

/// The picture of each image and task; none for tasks that answer with text.
#[derive(Debug)]
pub struct Pictures {
    /// By the positions of image and task.
    targets: BTreeMap<(usize, usize), Target>,
}

impl Pictures {
    /// Names all pictures. `{name}` in the target stands for the image's name and `{task}` for the task's; in a
    /// folder they are called `{name}-{task}.png`.
    ///
    /// `results` is where the results go.
    pub fn plan(target: &Target, results: &Target, inputs: &[Input], tasks: &[Task]) -> Result<Self> {
        let drawable: Vec<usize> = (0..tasks.len())
            .filter(|&task| tasks.get(task).is_some_and(is_drawable))
            .collect();
        if drawable.is_empty() {
            return Err(Error::Usage(
                "--draw: none of the tasks answers with boxes or outlines; see `florence2 tasks`".into(),
            ));
        }
        let mut targets = BTreeMap::new();
        let mut taken: BTreeMap<PathBuf, String> = BTreeMap::new();
        for (image, input) in inputs.iter().enumerate() {
            for &number in &drawable {
                let Some(task) = tasks.get(number) else { continue };
                let Target::File(pattern) = target else {
                    targets.insert((image, number), Target::Stdout);
                    continue;
                };
                let path = name(pattern, input, task);
                check_format(&path)?;
                refuse_overwriting(&path, inputs)?;
                let what = format!("{input} {task}");
                if let Some(other) = taken.insert(path.clone(), what.clone()) {
                    return Err(Error::Usage(format!(
                        "--draw: {} would be the picture of {other} and of {what}; put {{name}} and {{task}} into the \
                         name, or name a folder",
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

    /// Draws an answer on its image.
    pub fn draw(
        &self,
        image: usize,
        task: usize,
        pixels: &DynamicImage,
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
        console.suspend(|| write_picture(target, pixels, &output.parsed))?;
        if let Target::File(path) = target {
            console.note(&format!("drew {}", path.display()));
        }
        Ok(())
    }
}

fn is_drawable(task: &Task) -> bool {
    task.output_kind() != OutputKind::PureText
}

fn name(pattern: &Path, input: &Input, task: &Task) -> PathBuf {
    let task = task.kind().map_or("prompt", |kind| kind.spec().name);
    let text = pattern.to_string_lossy();
    if pattern.is_dir() || text.ends_with(['/', MAIN_SEPARATOR]) {
        return pattern.join(format!("{}-{task}.png", input.stem()));
    }
    match text.contains("{name}") || text.contains("{task}") {
        true => text
            .replace("{task}", task)
            .replace("{name}", &input.stem())
            .into(),
        false => pattern.to_owned(),
    }
}

/// That the ending is one of a format that can be written.
fn check_format(path: &Path) -> Result<()> {
    match ImageFormat::from_path(path) {
        Ok(format) if format.writing_enabled() => Ok(()),
        _ => Err(Error::Usage(format!(
            "--draw: {} has not the ending of a picture that can be written: .png, .jpg, .webp, ...; a folder's name \
             ends with {MAIN_SEPARATOR}",
            path.display()
        ))),
    }
}

/// That stdout gets one picture and nothing else.
fn check_stdout(targets: &BTreeMap<(usize, usize), Target>, results: &Target) -> Result<()> {
    let count = targets
        .values()
        .filter(|target| **target == Target::Stdout)
        .count();
    match (count, results) {
        (0, _) | (1, Target::File(_)) => Ok(()),
        (1, Target::Stdout) => Err(Error::Usage(
            "--draw - writes the picture to stdout: send the results elsewhere with -o FILE".into(),
        )),
        _ => Err(Error::Usage(format!(
            "--draw -: stdout holds one picture, not {count}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str, inputs: &[&str], tasks: &[Task]) -> Result<Vec<Target>> {
        let inputs: Vec<Input> = inputs.iter().map(|path| Input::File(path.into())).collect();
        let target = Target::from(std::ffi::OsString::from(target));
        Ok(Pictures::plan(&target, &Target::Stdout, &inputs, tasks)?
            .targets
            .into_values()
            .collect())
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
            plan("one.webp", &["a.png"], &[OD, Task::Ocr]).unwrap(),
            [file("one.webp")]
        );
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for (target, inputs, tasks) in [
            ("one.png", &["a.png", "b.png"][..], &[OD][..]),
            ("one.png", &["a.png"], &[OD, Task::RegionProposal]),
            ("out/", &["x/a.png", "y/a.png"], &[OD]),
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
