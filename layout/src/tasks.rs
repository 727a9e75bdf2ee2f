//! The fifteen tasks.

/// The input of a task besides the image: one of the three that the published model was trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskInput {
    /// No input.
    None,
    /// A phrase or a caption.
    Text,
    /// A box, written as four location tokens.
    Region,
}

/// How a task's answer is parsed: the seven kinds of transformers' `Florence2PostProcessor`, by its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputKind {
    /// `pure_text`: text without structure.
    PureText,
    /// `ocr`: lines of text, each with a quadrilateral.
    Ocr,
    /// `description_with_bboxes`: labels, each with boxes.
    DescriptionWithBboxes,
    /// `phrase_grounding`: phrases of the caption, each with boxes.
    PhraseGrounding,
    /// `polygons`: outlines without labels.
    Polygons,
    /// `description_with_bboxes_or_polygons`: labels, each with boxes or outlines.
    DescriptionWithBboxesOrPolygons,
    /// `bboxes`: boxes without labels.
    Bboxes,
}

impl OutputKind {
    /// Every kind, in the order of `preprocessor_config.json`.
    pub const ALL: [OutputKind; 7] = [
        OutputKind::PureText,
        OutputKind::Ocr,
        OutputKind::DescriptionWithBboxes,
        OutputKind::PhraseGrounding,
        OutputKind::Polygons,
        OutputKind::DescriptionWithBboxesOrPolygons,
        OutputKind::Bboxes,
    ];

    /// Returns the name in `preprocessor_config.json` (`tasks_answer_post_processing_type`).
    pub const fn name(self) -> &'static str {
        match self {
            OutputKind::PureText => "pure_text",
            OutputKind::Ocr => "ocr",
            OutputKind::DescriptionWithBboxes => "description_with_bboxes",
            OutputKind::PhraseGrounding => "phrase_grounding",
            OutputKind::Polygons => "polygons",
            OutputKind::DescriptionWithBboxesOrPolygons => "description_with_bboxes_or_polygons",
            OutputKind::Bboxes => "bboxes",
        }
    }
}

/// The published model's fifteen tasks, without their inputs. Fine-tunes have others, which are plain prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskKind {
    /// A sentence about the image.
    Caption,
    /// A few sentences about the image.
    DetailedCaption,
    /// A paragraph about the image.
    MoreDetailedCaption,
    /// All text in the image.
    Ocr,
    /// All text in the image, with its location.
    OcrWithRegion,
    /// Objects: category and box.
    ObjectDetection,
    /// Objects: description and box.
    DenseRegionCaption,
    /// Boxes of salient regions, without labels.
    RegionProposal,
    /// Boxes of the objects that a caption names.
    CaptionToPhraseGrounding,
    /// The outline of the object that an expression refers to.
    ReferringExpressionSegmentation,
    /// The outline of the object in a box.
    RegionToSegmentation,
    /// Boxes or outlines of all objects that a phrase names.
    OpenVocabularyDetection,
    /// The category of the object in a box.
    RegionToCategory,
    /// A description of the object in a box.
    RegionToDescription,
    /// The text in a box.
    RegionToOcr,
}

/// A task's tag, prompt, input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskSpec {
    /// The task with these properties.
    pub kind: TaskKind,
    /// The tag in transformers' processor: `<OD>`.
    pub tag: &'static str,
    /// The name in options and output: `od`.
    pub name: &'static str,
    /// The sentence that the model is prompted with; `{input}` is replaced by the input.
    pub prompt: &'static str,
    /// The input that the task needs besides the image.
    pub input: TaskInput,
    /// How the answer is parsed.
    pub output: OutputKind,
    /// A one-line description for help texts.
    pub summary: &'static str,
}

macro_rules! row {
    ($kind:ident, $tag:literal, $name:literal, $input:ident, $output:ident, $prompt:literal, $summary:literal) => {
        TaskSpec {
            kind: TaskKind::$kind,
            tag: $tag,
            name: $name,
            prompt: $prompt,
            input: TaskInput::$input,
            output: OutputKind::$output,
            summary: $summary,
        }
    };
}

/// All tasks; prompts as in transformers' `Florence2Processor`.
#[rustfmt::skip]
pub const TASKS: [TaskSpec; 15] = [
    row!(Caption, "<CAPTION>", "caption", None, PureText,
        "What does the image describe?", "a sentence about the image"),
    row!(DetailedCaption, "<DETAILED_CAPTION>", "detailed-caption", None, PureText,
        "Describe in detail what is shown in the image.", "a few sentences about the image"),
    row!(MoreDetailedCaption, "<MORE_DETAILED_CAPTION>", "more-detailed-caption", None, PureText,
        "Describe with a paragraph what is shown in the image.", "a paragraph about the image"),
    row!(Ocr, "<OCR>", "ocr", None, PureText,
        "What is the text in the image?", "all text in the image"),
    row!(OcrWithRegion, "<OCR_WITH_REGION>", "ocr-with-region", None, Ocr,
        "What is the text in the image, with regions?", "all text in the image, with its location"),
    row!(ObjectDetection, "<OD>", "od", None, DescriptionWithBboxes,
        "Locate the objects with category name in the image.", "objects: category and box"),
    row!(DenseRegionCaption, "<DENSE_REGION_CAPTION>", "dense-region-caption", None, DescriptionWithBboxes,
        "Locate the objects in the image, with their descriptions.", "objects: description and box"),
    row!(RegionProposal, "<REGION_PROPOSAL>", "region-proposal", None, Bboxes,
        "Locate the region proposals in the image.", "boxes of salient regions"),
    row!(CaptionToPhraseGrounding, "<CAPTION_TO_PHRASE_GROUNDING>", "caption-to-phrase-grounding", Text, PhraseGrounding,
        "Locate the phrases in the caption: {input}", "boxes of the objects that a caption names"),
    row!(ReferringExpressionSegmentation, "<REFERRING_EXPRESSION_SEGMENTATION>", "referring-expression-segmentation", Text, Polygons,
        "Locate {input} in the image with mask", "the outline of the object that an expression refers to"),
    row!(RegionToSegmentation, "<REGION_TO_SEGMENTATION>", "region-to-segmentation", Region, Polygons,
        "What is the polygon mask of region {input}", "the outline of the object in a box"),
    row!(OpenVocabularyDetection, "<OPEN_VOCABULARY_DETECTION>", "open-vocabulary-detection", Text, DescriptionWithBboxesOrPolygons,
        "Locate {input} in the image.", "boxes or outlines of all objects that a phrase names"),
    row!(RegionToCategory, "<REGION_TO_CATEGORY>", "region-to-category", Region, PureText,
        "What is the region {input}?", "the category of the object in a box"),
    row!(RegionToDescription, "<REGION_TO_DESCRIPTION>", "region-to-description", Region, PureText,
        "What does the region {input} describe?", "a description of the object in a box"),
    row!(RegionToOcr, "<REGION_TO_OCR>", "region-to-ocr", Region, PureText,
        "What text is in the region {input}?", "the text in a box"),
];

impl TaskKind {
    /// Returns the task's properties.
    pub const fn spec(self) -> &'static TaskSpec {
        // The table is in the order of the enum, as the test `table_is_in_the_order_of_the_enum` checks.
        &TASKS[self as usize]
    }

    /// Returns the task with a tag (`<OD>`) or a name (`od`), ignoring case and the difference of `_` and `-`.
    pub fn from_name(name: &str) -> Option<TaskKind> {
        let plain = |text: &str| {
            text.trim_matches(['<', '>'])
                .replace('_', "-")
                .to_ascii_lowercase()
        };
        let wanted = plain(name.trim());
        TASKS
            .iter()
            .find(|row| plain(row.tag) == wanted || row.name == wanted)
            .map(|row| row.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enum() {
        for row in &TASKS {
            assert_eq!(row.kind.spec(), row);
        }
    }

    #[test]
    fn tags_and_names_find_their_task() {
        for row in &TASKS {
            assert_eq!(TaskKind::from_name(row.tag), Some(row.kind));
            assert_eq!(TaskKind::from_name(row.name), Some(row.kind));
            assert_eq!(
                row.prompt.contains("{input}"),
                row.input != TaskInput::None,
                "{}",
                row.tag
            );
        }
        assert_eq!(
            TaskKind::from_name("OCR_with_region"),
            Some(TaskKind::OcrWithRegion)
        );
        assert_eq!(TaskKind::from_name("<DocVQA>"), None);
    }
}
