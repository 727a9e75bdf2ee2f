//! From a task to the sentence that the model gets.

use std::collections::BTreeMap;

use florence2_layout::tasks::TASKS;
use serde_json::Value;

use crate::error::Result;
use crate::geometry::ImageSize;
use crate::task::Task;

/// The sentence of each task tag; a checkpoint's own where its processor configuration has them.
#[derive(Debug, Clone)]
pub(crate) struct Prompts {
    by_tag: BTreeMap<String, String>,
}

impl Prompts {
    /// The built-in sentences, overridden by the `task_prompts_*` maps of `configs`, the later ones winning.
    pub(crate) fn new<'v>(configs: impl IntoIterator<Item = &'v Value>) -> Self {
        let mut by_tag: BTreeMap<String, String> = TASKS
            .iter()
            .map(|row| (row.tag.to_owned(), row.prompt.to_owned()))
            .collect();
        for config in configs {
            for map in ["task_prompts_without_inputs", "task_prompts_with_input"] {
                let entries = config.get(map).and_then(Value::as_object).into_iter().flatten();
                by_tag.extend(
                    entries.filter_map(|(tag, prompt)| Some((tag.clone(), prompt.as_str()?.to_owned()))),
                );
            }
        }
        Self { by_tag }
    }

    /// The sentence for a task; a free prompt is passed as it is.
    ///
    /// # Errors
    /// As [`Task::input`].
    pub(crate) fn prompt(&self, task: &Task, size: ImageSize) -> Result<String> {
        let Some(kind) = task.kind() else {
            return Ok(task.tag().to_owned());
        };
        let spec = kind.spec();
        let template = self.by_tag.get(spec.tag).map_or(spec.prompt, String::as_str);
        Ok(template.replace("{input}", &task.input(size)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::geometry::{BoundingBox, LocationBox};
    use crate::task::{Region, TaskKind};

    const SIZE: ImageSize = ImageSize::new(100, 100);

    #[test]
    fn sentences_carry_their_input() {
        let prompts = Prompts::new([]);
        let sentence = |task: Task| prompts.prompt(&task, SIZE).unwrap();
        assert_eq!(
            sentence(Task::ObjectDetection),
            "Locate the objects with category name in the image."
        );
        assert_eq!(
            sentence(Task::CaptionToPhraseGrounding(" a red {input} ".into())),
            "Locate the phrases in the caption: a red {input}"
        );
        let region = Region::Pixels(BoundingBox::new(10.0, 20.0, 30.0, 40.0));
        assert_eq!(
            sentence(Task::RegionToOcr(region)),
            "What text is in the region <loc_100><loc_200><loc_300><loc_400>?"
        );
        assert_eq!(
            sentence(Task::Prompt("<DocVQA>What year?".into())),
            "<DocVQA>What year?"
        );
    }

    #[test]
    fn inputs_that_say_nothing_are_refused() {
        let prompts = Prompts::new([]);
        let refused = |task: Task| prompts.prompt(&task, SIZE).unwrap_err();
        assert!(matches!(
            refused(Task::OpenVocabularyDetection(" \n".into())),
            Error::TaskNeedsText {
                task: TaskKind::OpenVocabularyDetection
            }
        ));
        for bins in [[0, 0, 1000, 5], [6, 0, 5, 9], [0, 9, 9, 8]] {
            let region = Region::Locations(LocationBox { bins });
            assert!(
                matches!(refused(Task::RegionToOcr(region)), Error::InvalidRegion { .. }),
                "{bins:?}"
            );
        }
    }

    #[test]
    fn a_checkpoint_may_word_its_tasks_itself() {
        let config = serde_json::json!({"task_prompts_without_inputs": {"<OD>": "Find all."}});
        let prompts = Prompts::new([&config]);
        assert_eq!(prompts.prompt(&Task::ObjectDetection, SIZE).unwrap(), "Find all.");
        assert_eq!(
            prompts.prompt(&Task::Caption, SIZE).unwrap(),
            "What does the image describe?"
        );
    }
}
