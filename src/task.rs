//! Tasks and their inputs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, ImageSize, LocationBox};
pub use florence2_layout::tasks::{OutputKind, TASKS, TaskInput, TaskKind, TaskSpec};

/// A region of an image, the input of region tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Region {
    /// In pixels of the image.
    Pixels(BoundingBox),
    /// In location bins, independent of the image's size.
    Locations(LocationBox),
}

/// A task with its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Task {
    /// `<CAPTION>`: a sentence about the image.
    Caption,
    /// `<DETAILED_CAPTION>`: a few sentences about the image.
    DetailedCaption,
    /// `<MORE_DETAILED_CAPTION>`: a paragraph about the image.
    MoreDetailedCaption,
    /// `<OCR>`: all text in the image.
    Ocr,
    /// `<OCR_WITH_REGION>`: all lines of text in the image with their quadrilaterals.
    OcrWithRegion,
    /// `<OD>`: objects, each with category and box.
    ObjectDetection,
    /// `<DENSE_REGION_CAPTION>`: objects, each with description and box.
    DenseRegionCaption,
    /// `<REGION_PROPOSAL>`: boxes of salient objects.
    RegionProposal,
    /// `<CAPTION_TO_PHRASE_GROUNDING>`: boxes of the phrases in this caption.
    CaptionToPhraseGrounding(String),
    /// `<REFERRING_EXPRESSION_SEGMENTATION>`: the outline of the object that this expression refers to.
    ReferringExpressionSegmentation(String),
    /// `<REGION_TO_SEGMENTATION>`: the outline of the object in this region.
    RegionToSegmentation(Region),
    /// `<OPEN_VOCABULARY_DETECTION>`: boxes or outlines of the objects that this phrase names.
    OpenVocabularyDetection(String),
    /// `<REGION_TO_CATEGORY>`: the category of the object in this region.
    RegionToCategory(Region),
    /// `<REGION_TO_DESCRIPTION>`: a description of this region.
    RegionToDescription(Region),
    /// `<REGION_TO_OCR>`: the text in this region.
    RegionToOcr(Region),
    /// A prompt in the form of transformers' processor: a tag and its text (`<MY_TASK>what?`), or a sentence.
    ///
    /// The tag of one of the fifteen tasks is that task: see [`from_prompt`](Self::from_prompt). If the prompt starts with
    /// another tag for which the checkpoint's `preprocessor_config.json` or `processor_config.json` has a prompt or an answer
    /// type, these are used, as in transformers' processor. All else is passed to the model unchanged, and the answer is
    /// text.
    Prompt(String),
}

impl Task {
    /// Creates a task of a kind with its input.
    ///
    /// # Errors
    /// If the input is missing, empty, or of another type than the task takes.
    pub fn new(kind: TaskKind, text: Option<&str>, region: Option<Region>) -> Result<Task> {
        for (is_given, wanted, input) in [
            (text.is_some(), TaskInput::Text, "text"),
            (region.is_some(), TaskInput::Region, "region"),
        ] {
            if is_given && kind.spec().input != wanted {
                return Err(Error::TaskTakesNo { task: kind, input });
            }
        }
        let text = || {
            text.map(str::trim)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .ok_or(Error::TaskNeedsText { task: kind })
        };
        let region = || region.ok_or(Error::TaskNeedsRegion { task: kind });
        Ok(match kind {
            TaskKind::Caption => Task::Caption,
            TaskKind::DetailedCaption => Task::DetailedCaption,
            TaskKind::MoreDetailedCaption => Task::MoreDetailedCaption,
            TaskKind::Ocr => Task::Ocr,
            TaskKind::OcrWithRegion => Task::OcrWithRegion,
            TaskKind::ObjectDetection => Task::ObjectDetection,
            TaskKind::DenseRegionCaption => Task::DenseRegionCaption,
            TaskKind::RegionProposal => Task::RegionProposal,
            TaskKind::CaptionToPhraseGrounding => Task::CaptionToPhraseGrounding(text()?),
            TaskKind::ReferringExpressionSegmentation => Task::ReferringExpressionSegmentation(text()?),
            TaskKind::RegionToSegmentation => Task::RegionToSegmentation(region()?),
            TaskKind::OpenVocabularyDetection => Task::OpenVocabularyDetection(text()?),
            TaskKind::RegionToCategory => Task::RegionToCategory(region()?),
            TaskKind::RegionToDescription => Task::RegionToDescription(region()?),
            TaskKind::RegionToOcr => Task::RegionToOcr(region()?),
        })
    }

    /// Creates the task that a prompt of transformers' processor asks for: `<OPEN_VOCABULARY_DETECTION>a dog`, or
    /// `<REGION_TO_OCR><loc_1><loc_2><loc_3><loc_4>`. A prompt without the tag of a task is a [`Prompt`](Self::Prompt).
    ///
    /// # Errors
    /// If the tag is of a task that takes no text, and text is beside it (also an error in transformers), or if a task's text
    /// or region is missing.
    pub fn from_prompt(prompt: &str) -> Result<Task> {
        // transformers looks for the tags without an input first.
        let takes_input = |row: &&TaskSpec| row.input != TaskInput::None;
        let without = TASKS.iter().filter(|row| !takes_input(row));
        let mut rows = without.chain(TASKS.iter().filter(takes_input));
        let Some(row) = rows.find(|row| prompt.contains(row.tag)) else {
            return Ok(Task::Prompt(prompt.to_owned()));
        };
        let input = prompt.replace(row.tag, "");
        let text = Some(input.trim()).filter(|input| !input.is_empty());
        match row.input {
            TaskInput::Region => Task::new(row.kind, None, text.and_then(locations).map(Region::Locations)),
            _ => Task::new(row.kind, text, None),
        }
    }

    /// Returns the kind of task, or `None` for a free prompt.
    pub fn kind(&self) -> Option<TaskKind> {
        Some(match self {
            Task::Caption => TaskKind::Caption,
            Task::DetailedCaption => TaskKind::DetailedCaption,
            Task::MoreDetailedCaption => TaskKind::MoreDetailedCaption,
            Task::Ocr => TaskKind::Ocr,
            Task::OcrWithRegion => TaskKind::OcrWithRegion,
            Task::ObjectDetection => TaskKind::ObjectDetection,
            Task::DenseRegionCaption => TaskKind::DenseRegionCaption,
            Task::RegionProposal => TaskKind::RegionProposal,
            Task::CaptionToPhraseGrounding(_) => TaskKind::CaptionToPhraseGrounding,
            Task::ReferringExpressionSegmentation(_) => TaskKind::ReferringExpressionSegmentation,
            Task::RegionToSegmentation(_) => TaskKind::RegionToSegmentation,
            Task::OpenVocabularyDetection(_) => TaskKind::OpenVocabularyDetection,
            Task::RegionToCategory(_) => TaskKind::RegionToCategory,
            Task::RegionToDescription(_) => TaskKind::RegionToDescription,
            Task::RegionToOcr(_) => TaskKind::RegionToOcr,
            Task::Prompt(_) => return None,
        })
    }

    /// Returns the answer type, which the checkpoint may override for a [`Prompt`](Self::Prompt)'s tag.
    pub fn output_kind(&self) -> OutputKind {
        self.kind()
            .map_or(OutputKind::PureText, |kind| kind.spec().output)
    }

    /// Returns the task's tag (`<OD>`), or the free prompt itself: the key of a result in transformers' format.
    pub fn tag(&self) -> &str {
        match self {
            Task::Prompt(prompt) => prompt,
            _ => self.kind().map_or("", |kind| kind.spec().tag),
        }
    }

    /// Returns the task's input as the prompt contains it: the text, or the region's location tokens; empty if the task takes none.
    ///
    /// # Errors
    /// [`Error::TaskNeedsText`] if the text is empty, [`Error::InvalidRegion`] if the region is not inside the image.
    pub fn input(&self, size: ImageSize) -> Result<String> {
        Ok(match self {
            Task::CaptionToPhraseGrounding(text)
            | Task::ReferringExpressionSegmentation(text)
            | Task::OpenVocabularyDetection(text) => match (text.trim(), self.kind()) {
                ("", Some(task)) => return Err(Error::TaskNeedsText { task }),
                (text, _) => text.to_owned(),
            },
            Task::RegionToSegmentation(region)
            | Task::RegionToCategory(region)
            | Task::RegionToDescription(region)
            | Task::RegionToOcr(region) => match region {
                Region::Pixels(pixels) => pixels.to_locations(size)?.to_string(),
                Region::Locations(locations) => locations.checked(size)?.to_string(),
            },
            _ => String::new(),
        })
    }
}

/// Parses the location tokens of a box.
fn locations(text: &str) -> Option<LocationBox> {
    let bins: Vec<u32> = text
        .strip_prefix("<loc_")?
        .strip_suffix('>')?
        .split("><loc_")
        .map(|bin| bin.parse().ok())
        .collect::<Option<_>>()?;
    Some(LocationBox {
        bins: bins.try_into().ok()?,
    })
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag())
    }
}
