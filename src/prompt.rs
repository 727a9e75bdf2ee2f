//! Prompts of tasks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use florence2_layout::tasks::TASKS;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::geometry::ImageSize;
use crate::task::{OutputKind, Task};

/// The prompt template and answer type of each task tag: built-in ones and those of a checkpoint's processor
/// configuration.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    by_tag: BTreeMap<String, String>,
    /// By tag, for tags other than the fifteen tasks'.
    output_kinds: BTreeMap<String, OutputKind>,
}

impl Prompts {
    /// Returns the built-in prompts, overridden by the `task_prompts_*` maps of `configs`, of which later ones take precedence,
    /// and the answer types that their `tasks_answer_post_processing_type` has for tags that are not built in.
    pub(crate) fn new<'v>(configs: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut by_tag: BTreeMap<String, String> = TASKS
            .iter()
            .map(|row| (row.tag.to_owned(), row.prompt.to_owned()))
            .collect();
        let mut output_kinds = BTreeMap::new();
        for config in configs {
            for map in ["task_prompts_without_inputs", "task_prompts_with_input"] {
                by_tag.extend(texts(config, map).map(|(tag, prompt)| (tag.to_owned(), prompt.to_owned())));
            }
            for (tag, name) in texts(config, "tasks_answer_post_processing_type") {
                if is_built_in(tag) {
                    continue;
                }
                match OutputKind::ALL.into_iter().find(|kind| kind.name() == name) {
                    Some(kind) => drop(output_kinds.insert(tag.to_owned(), kind)),
                    None => {
                        tracing::warn!(tag, "answer type {name:?} is unknown; answers are parsed as text")
                    }
                }
            }
        }
        Self { by_tag, output_kinds }
    }

    /// Returns a task's prompt. A free prompt is returned unchanged, unless it has a task's tag, or starts with one that the
    /// checkpoint has a template for.
    ///
    /// # Errors
    /// As [`Task::input`] and [`Task::from_prompt`]; [`Error::InvalidOption`] if a tag of the checkpoint lacks the text that its
    /// template needs, or has one that it does not take.
    pub(crate) fn prompt(&self, task: &Task, size: ImageSize) -> Result<String> {
        let task = resolved(task)?;
        let Some(kind) = task.kind() else {
            return self.free_prompt(task.tag());
        };
        let spec = kind.spec();
        let template = self.by_tag.get(spec.tag).map_or(spec.prompt, String::as_str);
        Ok(template.replace(INPUT, &task.input(size)?))
    }

    fn free_prompt(&self, prompt: &str) -> Result<String> {
        let Some((tag, input)) = leading_tag(prompt) else {
            return Ok(prompt.to_owned());
        };
        let Some(template) = self.by_tag.get(tag) else {
            return Ok(prompt.to_owned());
        };
        let invalid = |reason: String| Error::InvalidOption {
            name: "prompt",
            reason,
        };
        match (template.contains(INPUT), input.trim()) {
            (true, "") => Err(invalid(format!("{tag} must be followed by a text: {template:?}"))),
            (false, input) if !input.is_empty() => {
                Err(invalid(format!("{tag} takes no text, but {input:?} follows it")))
            }
            (_, input) => Ok(template.replace(INPUT, input)),
        }
    }

    /// Returns a task's answer type.
    pub(crate) fn output_kind(&self, task: &Task) -> OutputKind {
        match resolved(task).as_deref() {
            Ok(Task::Prompt(prompt)) => leading_tag(prompt)
                .and_then(|(tag, _)| self.output_kinds.get(tag))
                .map_or(OutputKind::PureText, |&kind| kind),
            Ok(task) => task.output_kind(),
            Err(_) => task.output_kind(),
        }
    }
}

/// Returns the task that a free prompt asks for by its tag; other tasks as they are.
fn resolved(task: &Task) -> Result<Cow<'_, Task>> {
    match task {
        Task::Prompt(prompt) => Task::from_prompt(prompt).map(Cow::Owned),
        task => Ok(Cow::Borrowed(task)),
    }
}

/// The input's placeholder in a template.
const INPUT: &str = "{input}";

/// Returns the entries of one of a configuration's maps.
fn texts<'v>(config: &'v Value, map: &str) -> impl Iterator<Item = (&'v str, &'v str)> {
    let entries = config.get(map).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(tag, text)| Some((tag.as_str(), text.as_str()?)))
}

/// Returns whether a tag is one of the fifteen tasks'.
fn is_built_in(tag: &str) -> bool {
    TASKS.iter().any(|row| row.tag == tag)
}

/// Splits a prompt after the tag that it starts with.
fn leading_tag(prompt: &str) -> Option<(&str, &str)> {
    let prompt = prompt.trim_start();
    let end = prompt.starts_with('<').then(|| prompt.find('>')).flatten()?;
    Some(prompt.split_at(end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{BoundingBox, LocationBox};
    use crate::task::{Region, TaskKind};

    const SIZE: ImageSize = ImageSize::new(100, 100);

    #[test]
    fn prompts_contain_their_input() {
        let prompts = Prompts::new([]);
        let prompt = |task: Task| prompts.prompt(&task, SIZE).unwrap();
        assert_eq!(
            prompt(Task::ObjectDetection),
            "Locate the objects with category name in the image."
        );
        assert_eq!(
            prompt(Task::CaptionToPhraseGrounding(" a red {input} ".into())),
            "Locate the phrases in the caption: a red {input}"
        );
        let region = Region::Pixels(BoundingBox::new(10.0, 20.0, 30.0, 40.0));
        assert_eq!(
            prompt(Task::RegionToOcr(region)),
            "What text is in the region <loc_100><loc_200><loc_300><loc_400>?"
        );
        assert_eq!(
            prompt(Task::Prompt("<DocVQA>What year?".into())),
            "<DocVQA>What year?"
        );
    }

    #[test]
    fn tags_in_prompts_are_their_tasks() {
        let prompts = Prompts::new([]);
        for (prompt, expected, kind) in [
            (
                "<OD>",
                "Locate the objects with category name in the image.",
                OutputKind::DescriptionWithBboxes,
            ),
            (
                " <OPEN_VOCABULARY_DETECTION>the red star ",
                "Locate the red star in the image.",
                OutputKind::DescriptionWithBboxesOrPolygons,
            ),
            (
                "a dog<CAPTION_TO_PHRASE_GROUNDING>",
                "Locate the phrases in the caption: a dog",
                OutputKind::PhraseGrounding,
            ),
            (
                "<REGION_TO_OCR><loc_1><loc_2><loc_30><loc_999>",
                "What text is in the region <loc_1><loc_2><loc_30><loc_999>?",
                OutputKind::PureText,
            ),
        ] {
            let task = Task::Prompt(prompt.into());
            assert_eq!(prompts.prompt(&task, SIZE).unwrap(), expected);
            assert_eq!(prompts.output_kind(&task), kind);
        }
        let rejected = |prompt: &str| prompts.prompt(&Task::Prompt(prompt.into()), SIZE).unwrap_err();
        for prompt in ["<CAPTION> describe", "describe <OD>"] {
            assert!(matches!(
                rejected(prompt),
                Error::TaskTakesNo { input: "text", .. }
            ));
        }
        assert!(matches!(
            rejected("<OPEN_VOCABULARY_DETECTION> "),
            Error::TaskNeedsText { .. }
        ));
        for prompt in [
            "<REGION_TO_OCR>",
            "<REGION_TO_OCR>a dog",
            "<REGION_TO_OCR><loc_1><loc_2><loc_3>",
        ] {
            assert!(matches!(rejected(prompt), Error::TaskNeedsRegion { .. }));
        }
    }

    #[test]
    fn invalid_inputs_are_rejected() {
        let prompts = Prompts::new([]);
        let rejected = |task: Task| prompts.prompt(&task, SIZE).unwrap_err();
        assert!(matches!(
            rejected(Task::OpenVocabularyDetection(" \n".into())),
            Error::TaskNeedsText {
                task: TaskKind::OpenVocabularyDetection
            }
        ));
        for bins in [[0, 0, 1000, 5], [6, 0, 5, 9], [0, 9, 9, 8]] {
            let region = Region::Locations(LocationBox { bins });
            assert!(
                matches!(rejected(Task::RegionToOcr(region)), Error::InvalidRegion { .. }),
                "{bins:?}"
            );
        }
    }

    #[test]
    fn a_checkpoint_overrides_prompts() {
        let config = serde_json::json!({"task_prompts_without_inputs": {"<OD>": "Find all."}});
        let prompts = Prompts::new([&config]);
        assert_eq!(prompts.prompt(&Task::ObjectDetection, SIZE).unwrap(), "Find all.");
        assert_eq!(
            prompts.prompt(&Task::Caption, SIZE).unwrap(),
            "What does the image describe?"
        );
    }

    #[test]
    fn a_checkpoint_defines_prompts_and_answer_types_of_its_own_tags() {
        let config = serde_json::json!({
            "task_prompts_without_inputs": {"<TAGS>": "Which tags fit?", "<CAPTION>": "Caption it."},
            "task_prompts_with_input": {"<FIND>": "Find {input} here."},
            "tasks_answer_post_processing_type": {
                "<FIND>": "phrase_grounding", "<PARTS>": "description_with_bboxes", "<OD>": "ocr", "<NEW>": "unheard_of"
            }
        });
        let prompts = Prompts::new([&config]);
        let asked = |prompt: &str| {
            let task = Task::Prompt(prompt.into());
            (prompts.prompt(&task, SIZE).unwrap(), prompts.output_kind(&task))
        };
        for (prompt, expected, kind) in [
            ("<TAGS>", "Which tags fit?", OutputKind::PureText),
            (
                "<FIND> a red car ",
                "Find a red car here.",
                OutputKind::PhraseGrounding,
            ),
            ("<PARTS>", "<PARTS>", OutputKind::DescriptionWithBboxes),
            ("<NEW>", "<NEW>", OutputKind::PureText),
            ("<UNKNOWN>what?", "<UNKNOWN>what?", OutputKind::PureText),
            ("<CAPTION>", "Caption it.", OutputKind::PureText),
            ("a < b", "a < b", OutputKind::PureText),
            ("<", "<", OutputKind::PureText),
        ] {
            assert_eq!(asked(prompt), (expected.to_owned(), kind), "{prompt}");
        }
        assert_eq!(
            prompts.output_kind(&Task::ObjectDetection),
            OutputKind::DescriptionWithBboxes
        );
        for prompt in ["<FIND>", "<FIND>  ", "<TAGS> of what"] {
            let rejected = prompts.prompt(&Task::Prompt(prompt.into()), SIZE);
            assert!(matches!(rejected, Err(Error::InvalidOption { .. })), "{prompt}");
        }
    }
}
