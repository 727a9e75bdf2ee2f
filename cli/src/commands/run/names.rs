//! Names of images and tasks, for the files that are written for each of them.

use std::collections::HashMap;

use florence2::Task;

use crate::commands::images::Input;

/// Returns a name for each image: its file's name without the extension. If several images have the same, all names have the
/// folders below the deepest one that holds all images, and those that are still the same have the extension.
pub fn of_images(inputs: &[Input]) -> Vec<String> {
    let stems: Vec<String> = inputs.iter().map(Input::stem).collect();
    if counts(&stems).len() == stems.len() {
        return stems;
    }
    let folders: Vec<Vec<String>> = inputs.iter().map(Input::folders).collect();
    let shared = folders
        .iter()
        .filter(|folders| !folders.is_empty())
        .map(|other| {
            let first = folders.iter().find(|folders| !folders.is_empty());
            let pairs = first.into_iter().flatten().zip(other);
            pairs.take_while(|(a, b)| a == b).count()
        })
        .min()
        .unwrap_or(0);
    let names: Vec<String> = folders
        .iter()
        .zip(&stems)
        .map(|(folders, stem)| {
            let below = folders.iter().skip(shared).chain([stem]);
            below.map(String::as_str).collect::<Vec<_>>().join("/")
        })
        .collect();
    let counts = counts(&names);
    let named = names
        .iter()
        .zip(inputs)
        .map(|(name, input)| match input.extension() {
            Some(extension) if counts[name.as_str()] > 1 => format!("{name}.{extension}"),
            _ => name.clone(),
        });
    named.collect()
}

/// Returns a name for each task: `od`; `cell-od` for `<CELL_OD>`, a fine-tune's own tag; `prompt` for other prompts. Those that
/// several tasks have are numbered: `open-vocabulary-detection-1`.
pub fn of_tasks(tasks: &[Task]) -> Vec<String> {
    let names: Vec<String> = tasks.iter().map(of_task).collect();
    let counts = counts(&names);
    let mut numbers = HashMap::new();
    let numbered = names.iter().map(|name| {
        let number = numbers.entry(name.as_str()).or_insert(0);
        *number += 1;
        if counts[name.as_str()] > 1 {
            format!("{name}-{number}")
        } else {
            name.clone()
        }
    });
    numbered.collect()
}

fn of_task(task: &Task) -> String {
    if let Some(kind) = task.kind() {
        return kind.spec().name.to_owned();
    }
    let tag = task
        .tag()
        .trim_start()
        .strip_prefix('<')
        .and_then(|text| text.split_once('>'));
    let words: Vec<String> = tag
        .map_or("", |(tag, _)| tag)
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    if words.is_empty() {
        "prompt".to_owned()
    } else {
        words.join("-")
    }
}

fn counts(names: &[String]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    names
        .iter()
        .for_each(|name| *counts.entry(name.as_str()).or_default() += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_same_name_keep_their_folders() {
        let names = |paths: &[&str]| {
            let inputs: Vec<Input> = paths
                .iter()
                .map(|path| match path.strip_prefix("https:") {
                    Some(_) => Input::Url((*path).to_owned()),
                    None => Input::File(path.into()),
                })
                .collect();
            of_images(&inputs)
        };
        for (paths, expected) in [
            (&["x/a.jpg", "y/b.jpg"][..], &["a", "b"][..]),
            (&["train/1.jpg", "val/1.jpg"], &["train/1", "val/1"]),
            (
                &["d/train/1.jpg", "d/val/1.jpg", "d/2.png"],
                &["train/1", "val/1", "2"],
            ),
            (&["d/1.jpg", "d/../e/1.jpg"], &["d/1", "e/1"]),
            (&["d/1.jpg", "d/1.png", "d/2.png"], &["1.jpg", "1.png", "2"]),
            (
                &["https://a.org/x/1.jpg?b=c", "https://a.org/y/1.jpg"],
                &["x/1", "y/1"],
            ),
        ] {
            assert_eq!(names(paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn tasks_are_named_by_their_tags() {
        let prompt = |text: &str| Task::Prompt(text.into());
        let phrase = |text: &str| Task::OpenVocabularyDetection(text.into());
        assert_eq!(
            of_tasks(&[
                Task::ObjectDetection,
                prompt("<CELL_OD>"),
                prompt("<DocVQA>../what?"),
                prompt("what?"),
                prompt("<../>why?"),
                phrase("a dog"),
                phrase("a cat"),
            ]),
            [
                "od",
                "cell-od",
                "docvqa",
                "prompt-1",
                "prompt-2",
                "open-vocabulary-detection-1",
                "open-vocabulary-detection-2"
            ]
        );
    }
}
